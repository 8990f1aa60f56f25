package dev.baton.transfer;

import java.io.EOFException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import java.time.Instant;
import java.util.concurrent.atomic.AtomicLong;

/// Reads and writes of whole files, as tiers on disk need them: a file appears under its name only once it has been
/// written in full.
///
/// Stateless but for a counter, thread-safe.
public final class WholeFile {
    private static final String PARTIAL = ".tmp";
    private static final Duration ABANDONED = Duration.ofHours(1);

    private static final AtomicLong NUMBER = new AtomicLong();

    private WholeFile() {}

    /// Writes a file beside its place and moves it there.
    public static void write(Path file, ByteBuffer... contents) throws IOException {
        Path partial = file.resolveSibling("%s.%d-%d%s"
                .formatted(file.getFileName(), ProcessHandle.current().pid(), NUMBER.incrementAndGet(), PARTIAL));
        try {
            try (FileChannel out = FileChannel.open(partial, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE)) {
                for (ByteBuffer content : contents) {
                    while (content.hasRemaining()) {
                        int _ = out.write(content);
                    }
                }
            }
            Files.move(partial, file, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
        } catch (IOException e) {
            Files.deleteIfExists(partial);
            throw e;
        }
    }

    /// Whether a file is one that is being written, or was when its writer died: of the latter, those that nobody
    /// has touched for an hour are deleted.
    public static boolean isPartial(Path file) throws IOException {
        if (!file.toString().endsWith(PARTIAL)) {
            return false;
        }
        try {
            if (Files.getLastModifiedTime(file)
                    .toInstant()
                    .isBefore(Instant.now().minus(ABANDONED))) {
                boolean _ = Files.deleteIfExists(file);
            }
        } catch (NoSuchFileException e) {
            // it has its name by now
        }
        return true;
    }

    /// Fills a buffer.
    ///
    /// @throws EOFException if the file is too short
    public static void readFully(FileChannel in, ByteBuffer target) throws IOException {
        while (target.hasRemaining()) {
            if (in.read(target) < 0) {
                throw new EOFException("the file is too short");
            }
        }
    }
}
