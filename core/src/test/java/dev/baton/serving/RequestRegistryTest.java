package dev.baton.serving;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Test;

class RequestRegistryTest {
    private final AtomicLong now = new AtomicLong();
    private final RequestRegistry registry = new RequestRegistry(now::get);

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
    void heldSequencesAreForgottenAfterAWhile() {
        registry.add("r", "a");
        registry.hold("r", "a");
        now.addAndGet(Duration.ofMinutes(5).toNanos());
        registry.add("s", "b");
        registry.hold("s", "b");
        assertThat(registry.engineIds("r")).containsExactly("a");
        now.addAndGet(Duration.ofMinutes(6).toNanos());
        registry.add("t", "c");
        registry.hold("t", "c");
        assertThat(registry.engineIds("r")).isEmpty();
        assertThat(registry.engineIds("s")).containsExactly("b");
    }
}
