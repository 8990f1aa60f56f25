package dev.baton.transfer.nixl;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.HashSet;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

/// Over the real NIXL, where it is.
class NixlAgentTest {
    private static final Path THREADS = Path.of("/proc/self/task");

    @Test
    void anAgentThatHasNothingToDoSleeps() throws Exception {
        assumeTrue(Files.isDirectory(THREADS), "threads of the system need Linux");
        NixlHome _ = NixlInstance.home();
        Set<Path> before = threads();
        try (NixlAgent _ = NixlAgent.start(Optional.empty(), System.getenv(), "idle-" + System.nanoTime())) {
            Set<Path> awake = threads();
            awake.removeAll(before);
            assertThat(awake).as("threads that NIXL started").isNotEmpty();
            // One that spins is never seen asleep, however busy the machine is.
            long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
            while (!awake.isEmpty() && System.nanoTime() - deadline < 0) {
                TimeUnit.MILLISECONDS.sleep(1);
                awake.removeIf(NixlAgentTest::isAsleepOrGone);
            }
            assertThat(awake).as("threads that never slept").isEmpty();
        }
    }

    private static Set<Path> threads() throws IOException {
        Set<Path> found = new HashSet<>();
        try (DirectoryStream<Path> entries = Files.newDirectoryStream(THREADS)) {
            entries.forEach(found::add);
        }
        return found;
    }

    private static boolean isAsleepOrGone(Path thread) {
        try {
            String stat = Files.readString(thread.resolve("stat"));
            return stat.charAt(stat.lastIndexOf(')') + 2) != 'R'; // behind the name, which is in brackets
        } catch (NoSuchFileException e) {
            return true;
        } catch (IOException e) {
            return !Files.exists(thread);
        }
    }
}
