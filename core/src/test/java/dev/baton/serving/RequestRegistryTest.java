package dev.baton.serving;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.Test;

class RequestRegistryTest {
    private final Set<String> inEngine = new HashSet<>();
    private final RequestRegistry registry = new RequestRegistry(inEngine::contains);

    @Test
    void sequencesAreFoundUntilTheyEnd() {
        registry.add("r", "a");
        registry.add("r", "b");
        assertThat(registry.engineIds("r")).containsExactly("a", "b");
        registry.remove("r", "a");
        assertThat(registry.engineIds("r")).containsExactly("b");
        registry.remove("r", "b");
        registry.remove("r", "b");
        assertThat(registry.engineIds("r")).isEmpty();
        assertThat(registry.size()).isZero();
    }

    @Test
    void heldSequenceIsForgottenOnceTheEngineHasLetGoOfItsBlocks() {
        for (String id : List.of("a", "b")) {
            registry.add("r", id);
            registry.hold("r", id);
        }
        inEngine.addAll(List.of("a", "b"));
        registry.forgetReleased();
        assertThat(registry.engineIds("r")).containsExactly("a", "b");
        inEngine.remove("a");
        registry.forgetReleased();
        assertThat(registry.engineIds("r")).containsExactly("b");
        inEngine.remove("b");
        registry.forgetReleased();
        assertThat(registry.size()).isZero();
    }

    @Test
    void runningSequenceIsNotForgottenBeforeItEnds() {
        registry.add("r", "a"); // on its way to the engine
        registry.forgetReleased();
        assertThat(registry.engineIds("r")).containsExactly("a");
    }
}
