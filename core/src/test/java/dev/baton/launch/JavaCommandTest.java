package dev.baton.launch;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.HashMap;
import java.util.Map;
import org.junit.jupiter.api.Test;

class JavaCommandTest {
    @Test
    void roleInheritsTheEnvironmentButNotTheLaunchersOwnVariables() {
        Map<String, String> environment = new HashMap<>(Map.of(
                "PATH", "/bin",
                "VLLM_SERVER_DEV_MODE", "1",
                "BATON_PORT", "9000",
                "BATON_CONFIG", "up.yaml",
                "BATON_API_KEY", "old"));
        JavaCommand command = JavaCommand.current(JavaCommandTest.class);
        command.withVariables(Map.of("BATON_API_KEY", "a b")).prepare(environment);
        assertThat(environment)
                .containsOnly(
                        Map.entry("PATH", "/bin"),
                        Map.entry("VLLM_SERVER_DEV_MODE", "1"),
                        Map.entry("BATON_API_KEY", "a b"));
        command.prepare(environment);
        assertThat(environment).doesNotContainKey("BATON_API_KEY");
    }
}
