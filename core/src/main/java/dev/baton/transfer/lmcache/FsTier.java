package dev.baton.transfer.lmcache;

import dev.baton.transfer.TransferException;
import dev.baton.transfer.WholeFile;
import java.io.EOFException;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

/// Chunks in files of a folder that LMCache's own processes share (`fs://`): a file is the head and the bytes,
/// its name the key with `-SEP-` for `/`, and `.data`. Nothing is ever deleted, as with LMCache's connector.
///
/// Thread-safe.
final class FsTier implements Tier {
    static final String SCHEME = "fs://";

    private static final int MAX_NAME_BYTES = 200; // with what is added while it is written, 255

    private final Path folder;

    /// @param url `fs://[host:port]/folder`; the host means nothing
    /// @throws TransferException if that names no single folder, or it cannot be used
    FsTier(String url) {
        int path = url.indexOf('/', SCHEME.length());
        if (path < 0 || url.indexOf(',') >= 0) {
            throw new TransferException("remote_url is %s; needed: one folder, as fs:///folder".formatted(url));
        }
        this.folder = Path.of(url.substring(path));
        try {
            Files.createDirectories(folder);
        } catch (IOException e) {
            throw new TransferException("remote_url %s cannot be used: %s".formatted(url, e), e);
        }
    }

    @Override
    public String name() {
        return SCHEME + folder;
    }

    @Override
    public boolean contains(String key) {
        return Files.exists(file(key));
    }

    @Override
    public boolean get(String key, ChunkHead expected, MemorySegment target) throws IOException {
        try (FileChannel in = FileChannel.open(file(key), StandardOpenOption.READ)) {
            ByteBuffer head = ByteBuffer.allocate(ChunkHead.BYTES);
            WholeFile.readFully(in, head);
            expected.require(ChunkHead.read(head.flip()));
            WholeFile.readFully(in, target.asSlice(0, expected.lengthBytes()).asByteBuffer());
            return true;
        } catch (NoSuchFileException e) {
            return false;
        } catch (EOFException e) {
            throw new BadChunkException("the file is too short");
        }
    }

    @Override
    public void put(String key, ChunkHead head, MemorySegment chunk) throws IOException {
        WholeFile.write(
                file(key),
                ByteBuffer.wrap(head.toBytes()),
                chunk.asSlice(0, head.lengthBytes()).asByteBuffer());
    }

    private Path file(String key) {
        String name = key.replace("/", "-SEP-") + ".data";
        if (name.getBytes(StandardCharsets.UTF_8).length > MAX_NAME_BYTES) {
            throw new IllegalArgumentException("the key is too long for the name of a file: " + key);
        }
        return folder.resolve(name);
    }

    @Override
    public void close() {}
}
