package dev.baton.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.baton.http.ApiKey;
import dev.baton.http.ApiKeys;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class ApiKeyFileTest {
    /// `printf %s sk-test | openssl dgst -sha256`
    private static final String HASH = "sha256:f3abf2a6cc4f00987743db5f544ba345b4899ae31f326d8ee9c4816de153c9e0";

    @TempDir
    private Path folder;

    private Path file(String text) throws IOException {
        return Files.writeString(folder.resolve("keys"), text);
    }

    @Test
    void keysHaveNamesHashesAndLimits() throws IOException {
        List<ApiKey> keys = ApiKeyFile.read(file("""
                keys:
                  - name: team-a
                    hash: %s
                    requests_per_minute: 60
                    max_concurrent: 4
                    models: [llama, qwen]
                  - {name: team-b, hash: "sha256:s:%s"}
                """.formatted(HASH, "0".repeat(64))));
        assertThat(keys).extracting(ApiKey::name).containsExactly("team-a", "team-b");
        assertThat(keys.get(0).mayUse("qwen")).isTrue();
        assertThat(keys.get(0).mayUse("mistral")).isFalse();
        assertThat(keys.get(1).mayUse("mistral")).isTrue();
        assertThat(ApiKeys.none().and(keys).identify(Optional.of("Bearer sk-test")))
                .contains(keys.getFirst());
    }

    @Test
    void jsonWillDo() throws IOException {
        assertThat(ApiKeyFile.read(file("{\"keys\": [{\"name\": \"a\", \"hash\": \"%s\"}]}".formatted(HASH))))
                .hasSize(1);
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "",
                "keys:",
                "keys: []",
                "keys: [CANARY]",
                "keys: [{name: a}]",
                "keys: [{name: a, hash: CANARY}]",
                "keys: [{name: a, hash: CANARY, tokens: 3}]",
                "keys: [{name: a, hash: HASH, requests_per_minute: -1}]",
                "keys: [{name: a, hash: HASH, requests_per_minute: many}]",
                "keys: [{name: a, hash: HASH, models: llama}]",
                "keys: [{name: a, hash: HASH, 'CANARY': 1}]",
                "other: 1",
                "keys: [{name: a, hash: 'CANARY",
                "- CANARY"
            })
    void anythingElseIsRefusedInASentenceThatRepeatsNothingSecret(String text) throws IOException {
        Path file = file(text.replace("HASH", HASH));
        assertThatThrownBy(() -> ApiKeyFile.read(file))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("--api-key-file")
                .hasMessageNotContaining("CANARY")
                .hasMessageNotContaining(HASH);
    }

    @Test
    void changedFileCountsWhenItHasBeenReadTwice() throws IOException {
        String one = "keys: [{name: a, hash: '%s'}]".formatted(HASH);
        String two = "keys: [{name: a, hash: '%s'}, {name: b, hash: '%s'}]".formatted(HASH, HASH.replace('f', 'e'));
        ApiKeyFile source = new ApiKeyFile(file(one));
        assertThat(source.readIfChanged())
                .hasValueSatisfying(keys -> assertThat(keys).hasSize(1));
        assertThat(source.readIfChanged()).isEmpty();
        file(two.substring(0, 70));
        assertThat(source.readIfChanged()).as("it may be half written").isEmpty();
        file(two);
        assertThat(source.readIfChanged()).isEmpty();
        assertThat(source.readIfChanged())
                .hasValueSatisfying(keys -> assertThat(keys).hasSize(2));
        assertThat(source.readIfChanged()).isEmpty();
        file("keys: []");
        assertThat(source.readIfChanged()).isEmpty();
        for (int i = 0; i < 2; i++) {
            assertThatThrownBy(source::readIfChanged).hasMessageContaining("would admit everybody");
        }
        Files.delete(folder.resolve("keys"));
        assertThatThrownBy(source::readIfChanged).hasMessageContaining("there is no such file");
        file(two);
        assertThat(source.readIfChanged()).isEmpty();
        assertThat(source.readIfChanged()).as("these keys hold already").isEmpty();
    }

    @Test
    void missingFileIsNamed() {
        assertThatThrownBy(() -> ApiKeyFile.read(folder.resolve("absent")))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("absent");
    }
}
