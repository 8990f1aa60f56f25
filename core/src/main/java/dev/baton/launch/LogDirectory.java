package dev.baton.launch;

import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.channels.OverlappingFileLockException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import org.jspecify.annotations.Nullable;

/// The folder of one deployment's logs, held so that no second deployment replaces them. The hold ends with
/// [#close], and with this process however it ends.
///
/// What is locked is a file of its own: a POSIX lock is lost as soon as its process closes any descriptor of the
/// file, and a log is opened and closed each time that a role is started or the log's end is shown.
/// For the same reason a process should try to hold a folder once only.
///
/// Thread-safe.
final class LogDirectory implements AutoCloseable {
    static final String LOCK_FILE = ".baton-up.lock";

    private final Path directory;
    private final FileChannel channel;

    private LogDirectory(Path directory, FileChannel channel) {
        this.directory = directory;
        this.channel = channel;
    }

    /// Takes the folder, and makes it if it is not there. The lock file stays behind: to remove it could take away
    /// the one that another deployment has just locked.
    ///
    /// @throws LaunchException if another deployment has it, or nothing can be written there
    static LogDirectory hold(Path directory) {
        FileChannel channel;
        try {
            Files.createDirectories(directory);
            channel =
                    FileChannel.open(directory.resolve(LOCK_FILE), StandardOpenOption.CREATE, StandardOpenOption.WRITE);
        } catch (IOException e) {
            throw unwritable(directory, e);
        }
        LogDirectory held = new LogDirectory(directory, channel);
        boolean isHeld = false;
        try {
            isHeld = tryLock(channel) != null;
        } catch (IOException e) {
            throw unwritable(directory, e);
        } finally {
            if (!isHeld) {
                held.close();
            }
        }
        if (!isHeld) {
            throw new LaunchException("Another deployment writes its logs to %s: pass another folder with --log-dir."
                    .formatted(directory.toAbsolutePath().normalize()));
        }
        return held;
    }

    private static @Nullable FileLock tryLock(FileChannel channel) throws IOException {
        try {
            return channel.tryLock();
        } catch (OverlappingFileLockException e) {
            return null; // held by this very process
        }
    }

    private static LaunchException unwritable(Path directory, IOException cause) {
        return new LaunchException(
                "Logs cannot be written to " + directory + " (" + cause + "): pass another folder with --log-dir.",
                cause);
    }

    /// The log of a role.
    Path logOf(Role role) {
        return directory.resolve(role.name() + ".log");
    }

    /// Lets another deployment have the folder. May be called again.
    @Override
    public void close() {
        try {
            channel.close();
        } catch (IOException e) {
            throw new LaunchException("The lock on " + directory + " cannot be released: " + e.getMessage(), e);
        }
    }
}
