package dev.baton.http;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;
import static org.junit.jupiter.api.Assumptions.assumeFalse;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// Each problem is met by reading a real file.
class FileProblemTest {
    @TempDir
    private Path folder;

    private static String problem(Path file) {
        return FileProblem.of(catchThrowableOfType(IOException.class, () -> Files.readString(file)));
    }

    @Test
    void problemsAreSaidInWordsWithoutNamesOfClasses() throws IOException {
        Path latin = Files.write(folder.resolve("latin"), new byte[] {'a', (byte) 0xe4, 'b'});
        Path loop = folder.resolve("loop");
        Files.createSymbolicLink(loop, loop);
        assertThat(problem(folder.resolve("absent"))).isEqualTo("there is no such file");
        assertThat(problem(latin)).isEqualTo("it is no text in UTF-8");
        assertThat(problem(folder)).isEqualTo("is a directory");
        assertThat(problem(loop)).contains("symbolic links").doesNotContain("xception");
        assertThat(FileProblem.of(new IOException())).isNotEmpty().doesNotContain("xception");
    }

    @Test
    void fileThatMayNotBeReadIsSaidToBeSo() throws IOException {
        Path secret = Files.writeString(folder.resolve("secret"), "x");
        Files.setPosixFilePermissions(secret, PosixFilePermissions.fromString("---------"));
        assumeFalse(Files.isReadable(secret), "this user may read every file");
        assertThat(problem(secret)).isEqualTo("its permissions do not allow it");
    }
}
