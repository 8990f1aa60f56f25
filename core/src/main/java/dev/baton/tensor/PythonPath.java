package dev.baton.tensor;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.TimeUnit;

/// Where the `python3` on the PATH looks for packages, since libraries come in them. Stateless, thread-safe.
public final class PythonPath {
    private static final long LIMIT_SECONDS = 10;

    private PythonPath() {}

    /// Its folders, in order; none if there is no such interpreter.
    public static List<Path> folders() {
        try {
            Process python = new ProcessBuilder("python3", "-c", "import sys; print('\\n'.join(sys.path))")
                    .redirectError(ProcessBuilder.Redirect.DISCARD)
                    .start();
            python.getOutputStream().close();
            String out = new String(python.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
            if (!python.waitFor(LIMIT_SECONDS, TimeUnit.SECONDS)) {
                python.destroyForcibly();
                return List.of();
            }
            return out.lines().filter(line -> !line.isBlank()).map(Path::of).toList();
        } catch (IOException e) {
            return List.of();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            return List.of();
        }
    }
}
