package dev.baton.transfer.offload;

import dev.baton.kvcache.BlockHash;
import dev.baton.transfer.TransferException;
import dev.baton.transfer.WholeFile;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.FileSystemException;
import java.nio.file.FileVisitResult;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.SimpleFileVisitor;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.HashSet;
import java.util.HexFormat;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.atomic.LongAdder;
import java.util.zip.CRC32C;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// Blocks in files, one each: `ROOT/MODEL_DIGEST_r0/hhh/hh_g0/HASH.bin`, vLLM's layout of directories. A file
/// is written under another name and then renamed, so that a crash leaves no half block; each bears the hash,
/// the length and a CRC-32C of its block, and one that does not fit is deleted and was a miss.
///
/// Several instances of the same model may share a directory: what one writes, the others find. The least recently
/// used files of this instance's knowledge go first when `max_bytes` is reached.
///
/// Thread-safe.
final class FileTier {
    private static final Logger LOG = LoggerFactory.getLogger(FileTier.class);

    private static final String SUFFIX = ".bin";
    private static final long MAGIC = 0x4261746f6e4b5632L; // "BatonKV2"
    private static final int HEADER_BYTES = 4 * Long.BYTES + 2 * Integer.BYTES;
    private static final int HASH_DIGITS = 32;

    private final Path directory;
    private final long blockBytes;
    private final long maxBlocks;
    private final LongAdder bad = new LongAdder();
    private final Set<BlockHash> known = new HashSet<>(); // guarded by this, as the policy
    private final EvictionPolicy policy = new LruPolicy();

    /// @param name of the model and its shape: a directory of their own
    /// @throws TransferException if the directory cannot be made or read
    FileTier(Path root, String name, long blockBytes, long maxBytes) {
        this.directory = root.resolve(name);
        this.blockBytes = blockBytes;
        this.maxBlocks = Math.max(1, maxBytes / (blockBytes + HEADER_BYTES));
        try {
            Files.createDirectories(directory);
            Files.walkFileTree(directory, new SimpleFileVisitor<>() {
                @Override
                public FileVisitResult visitFile(Path file, BasicFileAttributes attributes) throws IOException {
                    if (!WholeFile.isPartial(file)) {
                        hash(file).ifPresent(FileTier.this::learn);
                    }
                    return FileVisitResult.CONTINUE;
                }

                @Override
                public FileVisitResult visitFileFailed(Path file, IOException e) {
                    return FileVisitResult.CONTINUE; // other instances write and delete here
                }
            });
        } catch (IOException e) {
            throw new TransferException("secondary_tiers: root_dir %s cannot be used: %s".formatted(root, say(e)), e);
        }
    }

    private static String say(IOException e) {
        return e instanceof FileSystemException file && file.getReason() != null
                ? file.getReason()
                : String.valueOf(e.getMessage());
    }

    private static Optional<BlockHash> hash(Path file) {
        String name = file.getFileName().toString();
        if (!name.endsWith(SUFFIX) || name.length() != HASH_DIGITS + SUFFIX.length()) {
            return Optional.empty();
        }
        try {
            return Optional.of(new BlockHash(
                    HexFormat.fromHexDigitsToLong(name, 0, HASH_DIGITS / 2),
                    HexFormat.fromHexDigitsToLong(name, HASH_DIGITS / 2, HASH_DIGITS)));
        } catch (NumberFormatException e) {
            return Optional.empty();
        }
    }

    private synchronized void learn(BlockHash hash) {
        if (known.add(hash)) {
            policy.admit(hash);
        } else {
            policy.touch(hash);
        }
    }

    private synchronized void forget(BlockHash hash) {
        if (known.remove(hash)) {
            policy.remove(hash);
        }
    }

    /// Whether this instance knows of such a block; another may have written one, and [#read] finds it.
    synchronized boolean knows(BlockHash hash) {
        return known.contains(hash);
    }

    synchronized int size() {
        return known.size();
    }

    /// Files so far that were not what they should be.
    long numBad() {
        return bad.sum();
    }

    private Path path(BlockHash hash) {
        String digits = hash.toString();
        return directory
                .resolve(digits.substring(0, 3))
                .resolve(digits.substring(3, 5) + "_g0")
                .resolve(digits + SUFFIX);
    }

    private ByteBuffer header(BlockHash hash, ByteBuffer block) {
        CRC32C crc = new CRC32C();
        crc.update(block.duplicate());
        return ByteBuffer.allocate(HEADER_BYTES)
                .order(ByteOrder.LITTLE_ENDIAN)
                .putLong(MAGIC)
                .putLong(hash.high())
                .putLong(hash.low())
                .putLong(blockBytes)
                .putInt((int) crc.getValue())
                .putInt(0)
                .flip();
    }

    /// Writes a block.
    ///
    /// @throws IOException if the file system does not take it; nothing is left of it then
    void write(BlockHash hash, MemorySegment block) throws IOException {
        Path target = path(hash);
        ByteBuffer bytes = block.asByteBuffer();
        Files.createDirectories(target.getParent());
        WholeFile.write(target, header(hash, bytes), bytes);
        learn(hash);
        trim();
    }

    private void trim() {
        while (true) {
            Optional<BlockHash> gone;
            synchronized (this) {
                if (known.size() <= maxBlocks) {
                    return;
                }
                gone = policy.evict(_ -> true);
                gone.ifPresent(known::remove);
            }
            if (gone.isEmpty()) {
                return;
            }
            delete(gone.get());
        }
    }

    /// Reads a block.
    ///
    /// @return false if it is not there any more, or is not what it says: it is gone then
    /// @throws IOException if the file system fails
    boolean read(BlockHash hash, MemorySegment target) throws IOException {
        ByteBuffer header = ByteBuffer.allocate(HEADER_BYTES).order(ByteOrder.LITTLE_ENDIAN);
        ByteBuffer bytes = target.asByteBuffer();
        try (FileChannel file = FileChannel.open(path(hash), StandardOpenOption.READ)) {
            if (file.size() == HEADER_BYTES + blockBytes) {
                for (ByteBuffer part : List.of(header, bytes)) {
                    int n = 0;
                    while (part.hasRemaining() && n >= 0) {
                        n = file.read(part);
                    }
                }
            }
        } catch (NoSuchFileException e) {
            forget(hash); // another instance deleted it
            return false;
        }
        bytes.rewind();
        if (!header.hasRemaining() && header.flip().equals(header(hash, bytes))) {
            learn(hash);
            return true;
        }
        bad.increment();
        LOG.warn("{} is no whole block: deleted", path(hash));
        forget(hash);
        delete(hash);
        return false;
    }

    private void delete(BlockHash hash) {
        try {
            boolean _ = Files.deleteIfExists(path(hash));
        } catch (IOException e) {
            LOG.warn("{} cannot be deleted: {}", path(hash), say(e));
        }
    }
}
