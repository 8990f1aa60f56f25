package dev.baton.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.serving.DefaultSampling;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class GenerationDefaultsTest {
    @TempDir
    Path model;

    @TempDir
    Path other;

    @BeforeEach
    void writeFiles() throws IOException {
        Files.writeString(
                model.resolve("generation_config.json"),
                "{\"temperature\": 0.6, \"top_k\": 20, \"max_new_tokens\": 9}");
        Files.writeString(other.resolve("generation_config.json"), "{\"top_p\": 0.9}");
    }

    @Test
    void fileOfTheModelOfAnotherFolderOrNoneIsRead() {
        DefaultSampling auto = GenerationDefaults.read(model, "auto", "");
        assertThat(auto.temperature()).hasValue(0.6);
        assertThat(auto.topK()).hasValue(20);
        assertThat(auto.maxTokens()).hasValue(9);
        assertThat(GenerationDefaults.read(model, "vllm", "")).isEqualTo(DefaultSampling.VLLM);
        DefaultSampling folder = GenerationDefaults.read(model, other.toString(), "");
        assertThat(folder.topP()).hasValue(0.9);
        assertThat(folder.temperature()).isEmpty();
    }

    @Test
    void overridesGoBeforeTheFileAndStandAloneWithoutOne() {
        DefaultSampling both = GenerationDefaults.read(model, "auto", "{\"temperature\": 0, \"min_p\": 0.1}");
        assertThat(both.temperature()).hasValue(0);
        assertThat(both.minP()).hasValue(0.1);
        assertThat(both.topK()).hasValue(20);
        DefaultSampling alone = GenerationDefaults.read(model, "vllm", "{\"temperature\": 0.5}");
        assertThat(alone.temperature()).hasValue(0.5);
        assertThat(alone.topK()).isEmpty();
    }
}
