package dev.baton.tensor.cuda.raw;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.baton.tensor.TensorException;
import java.io.IOException;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class NativeLibraryTest {
    @Test
    void namesComeBeforeTheFilesOfTheToolkitThatExist(@TempDir Path home) throws IOException {
        Path file =
                Files.createFile(Files.createDirectories(home.resolve("lib64")).resolve("libx.so.2"));
        assertThat(NativeLibrary.candidates(
                        List.of("libx.so.3", "libx.so.2"), Map.of("CUDA_HOME", home.toString(), "CUDA_PATH", "")))
                .containsExactly("libx.so.3", "libx.so.2", file.toString());
    }

    @Test
    void otherPlacesAreTriedLast(@TempDir Path folder) throws IOException {
        Path notALibrary = Files.writeString(folder.resolve("libnone.so.1"), "text");
        Path math = Path.of("/lib/x86_64-linux-gnu/libm.so.6");
        Assumptions.assumeTrue(Files.exists(math), "no libm.so.6 where it is looked for");
        NativeLibrary found = NativeLibrary.load(
                "The library", List.of("libnone.so.1"), "install it", Map.of(), () -> List.of(notALibrary, math));
        assertThat(found.status("ilogb", ValueLayout.JAVA_DOUBLE)).isNotNull();
    }

    @Test
    void libraryThatIsMissingIsNamedInOneSentenceWithWhatToDo() {
        assertThatThrownBy(() -> NativeLibrary.load(
                        "The library", List.of("libnone.so.1", "libnone.so"), "install it", Map.of()))
                .isInstanceOf(TensorException.class)
                .hasMessage("The library is missing: none of libnone.so.1, libnone.so can be loaded; install it");
    }
}
