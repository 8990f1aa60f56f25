package dev.baton.transfer.lmcache;

import dev.baton.transfer.TransferException;
import dev.baton.transfer.WholeFile;
import java.io.EOFException;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HexFormat;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.locks.ReentrantLock;
import java.util.stream.Stream;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// Chunks in files of a folder, each with a checksum; the one that was not used for longest goes first. What is
/// in the folder at the start is found again.
///
/// A file is `BATONKV1`, checksum (u32), the chunk's head, length of the key (u32), key, bytes; little-endian.
/// Its name is the SHA-256 of the key. Files appear in one step and are checked when they are read: after a
/// crash or a power failure a damaged one is a miss. Several processes may share a folder; each counts and
/// evicts what it knows of.
///
/// Thread-safe; files are read and written outside of its lock.
final class DiskTier implements Tier {
    private static final Logger LOG = LoggerFactory.getLogger(DiskTier.class);

    private static final String SUFFIX = ".kv";
    private static final byte[] MAGIC = "BATONKV1".getBytes(StandardCharsets.US_ASCII);

    private final Path folder;
    private final long maxBytes;
    private final ReentrantLock lock = new ReentrantLock();
    private final Map<String, Long> sizes = new LinkedHashMap<>(16, 0.75f, true); // by file name; the first goes first
    private long usedBytes;

    /// @throws TransferException if the folder cannot be used
    DiskTier(Path folder, long maxBytes) {
        this.folder = folder;
        this.maxBytes = maxBytes;
        try {
            Files.createDirectories(folder);
            find();
        } catch (IOException e) {
            throw new TransferException("local_disk %s cannot be used: %s".formatted(folder, e), e);
        }
        makeRoom(0);
    }

    private record Found(String name, long bytes, long modifiedMillis) {}

    private void find() throws IOException {
        List<Found> found = new ArrayList<>();
        try (Stream<Path> files = Files.list(folder)) {
            for (Path file : (Iterable<Path>) files::iterator) {
                String name = file.getFileName().toString();
                if (!WholeFile.isPartial(file) && name.endsWith(SUFFIX)) {
                    found.add(new Found(
                            name,
                            Files.size(file),
                            Files.getLastModifiedTime(file).toMillis()));
                }
            }
        }
        found.sort(Comparator.comparingLong(Found::modifiedMillis));
        for (Found file : found) {
            sizes.put(file.name(), file.bytes());
            usedBytes += file.bytes();
        }
    }

    @Override
    public String name() {
        return "disk %s of %.2f GiB".formatted(folder, maxBytes / (double) (1 << 30));
    }

    @Override
    public boolean contains(String key) {
        lock.lock();
        try {
            return sizes.containsKey(fileName(key));
        } finally {
            lock.unlock();
        }
    }

    @Override
    public boolean get(String key, ChunkHead expected, MemorySegment target) throws IOException {
        if (!contains(key)) {
            return false;
        }
        String name = fileName(key);
        try (FileChannel in = FileChannel.open(folder.resolve(name), StandardOpenOption.READ)) {
            byte[] wanted = key.getBytes(StandardCharsets.UTF_8);
            ByteBuffer head = ByteBuffer.allocate(headBytes(wanted.length)).order(ByteOrder.LITTLE_ENDIAN);
            WholeFile.readFully(in, head);
            head.flip();
            byte[] magic = new byte[MAGIC.length];
            byte[] found = new byte[wanted.length];
            head.get(magic);
            int checksum = head.getInt();
            if (!Arrays.equals(magic, MAGIC)) {
                throw new BadChunkException("%s is no chunk".formatted(name));
            }
            expected.require(ChunkHead.read(head));
            int keyBytes = head.getInt();
            head.get(found);
            if (keyBytes != wanted.length || !Arrays.equals(found, wanted)) {
                throw new BadChunkException("%s is the chunk of another key".formatted(name));
            }
            WholeFile.readFully(in, target.asSlice(0, expected.lengthBytes()).asByteBuffer());
            ChunkChecksum.require(checksum, key, expected, target);
            return true;
        } catch (NoSuchFileException e) {
            forget(name); // another process made room
            return false;
        } catch (EOFException e) {
            delete(name);
            throw new BadChunkException("%s is too short".formatted(name));
        } catch (BadChunkException e) {
            delete(name);
            throw e;
        }
    }

    @Override
    public void put(String key, ChunkHead head, MemorySegment chunk) throws IOException {
        byte[] text = key.getBytes(StandardCharsets.UTF_8);
        long bytes = headBytes(text.length) + (long) head.lengthBytes();
        if (bytes > maxBytes) {
            return;
        }
        makeRoom(bytes);
        ByteBuffer first = ByteBuffer.allocate(headBytes(text.length)).order(ByteOrder.LITTLE_ENDIAN);
        first.put(MAGIC).putInt(ChunkChecksum.of(key, head, chunk));
        head.write(first);
        first.putInt(text.length).put(text).flip();
        String name = fileName(key);
        WholeFile.write(
                folder.resolve(name),
                first,
                chunk.asSlice(0, head.lengthBytes()).asByteBuffer());
        lock.lock();
        try {
            Long older = sizes.put(name, bytes);
            usedBytes += bytes - (older == null ? 0 : older);
        } finally {
            lock.unlock();
        }
    }

    private static int headBytes(int keyBytes) {
        return MAGIC.length + Integer.BYTES + ChunkHead.BYTES + Integer.BYTES + keyBytes;
    }

    /// Deletes files until there is room.
    private void makeRoom(long bytes) {
        List<String> evicted = new ArrayList<>();
        lock.lock();
        try {
            Iterator<Map.Entry<String, Long>> eldest = sizes.entrySet().iterator();
            while (usedBytes + bytes > maxBytes && eldest.hasNext()) {
                Map.Entry<String, Long> entry = eldest.next();
                evicted.add(entry.getKey());
                usedBytes -= entry.getValue();
                eldest.remove();
            }
        } finally {
            lock.unlock();
        }
        evicted.forEach(this::deleteFile);
    }

    private void delete(String name) {
        forget(name);
        deleteFile(name);
    }

    private void forget(String name) {
        lock.lock();
        try {
            Long bytes = sizes.remove(name);
            usedBytes -= bytes == null ? 0 : bytes;
        } finally {
            lock.unlock();
        }
    }

    private void deleteFile(String name) {
        try {
            Files.deleteIfExists(folder.resolve(name));
        } catch (IOException e) {
            LOG.warn("local_disk: {} cannot be deleted: {}", name, e.toString());
        }
    }

    @Override
    public void touch(List<String> keys) {
        List<String> names = keys.stream().map(DiskTier::fileName).toList();
        lock.lock();
        try {
            names.forEach(sizes::get);
        } finally {
            lock.unlock();
        }
    }

    /// Bytes of the files known.
    long usedBytes() {
        lock.lock();
        try {
            return usedBytes;
        } finally {
            lock.unlock();
        }
    }

    static String fileName(String key) {
        try {
            byte[] digest = MessageDigest.getInstance("SHA-256").digest(key.getBytes(StandardCharsets.UTF_8));
            return HexFormat.of().formatHex(digest) + SUFFIX;
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("every Java platform has SHA-256", e);
        }
    }

    @Override
    public void close() {}
}
