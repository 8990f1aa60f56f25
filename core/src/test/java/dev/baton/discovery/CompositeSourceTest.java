package dev.baton.discovery;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// Several sources as one, and what an operator sets over them.
class CompositeSourceTest {
    private static final EngineInfo A = EngineInfo.of(new EngineAddress("a", 1), EngineRole.PREFILLER);
    private static final EngineInfo B = EngineInfo.of(new EngineAddress("b", 1), EngineRole.DECODER);

    private final FleetRecorder fleet = new FleetRecorder();
    private final Registrations first = new Registrations();
    private final Registrations second = new Registrations();
    private final CompositeSource both = new CompositeSource(List.of(first, second));

    @AfterEach
    void close() {
        both.close();
    }

    @Test
    void engineIsThereWhileOneSourceSaysSo() {
        both.start(fleet);
        first.add(A, Optional.empty());
        second.add(A, Optional.empty());
        second.add(B, Optional.empty());
        assertThat(both.whoSays(A.address())).hasSize(2);
        assertThat(first.remove(A.address())).isTrue();
        assertThat(fleet.addresses()).containsExactly("a:1", "b:1");
        assertThat(second.remove(A.address())).isTrue();
        assertThat(second.remove(A.address())).isFalse();
        assertThat(fleet.events()).containsExactly("+a:1", "+b:1", "-a:1");
        assertThat(both.whoSays(A.address())).isEmpty();
    }

    @Test
    void firstSourceIsBelieved() {
        both.start(fleet);
        second.add(A.withWeight(2), Optional.empty());
        assertThat(fleet.engine("a:1").weight()).isEqualTo(2);
        first.add(A.withWeight(3), Optional.empty());
        assertThat(fleet.engine("a:1").weight()).isEqualTo(3);
        second.add(A.withWeight(4), Optional.empty());
        assertThat(fleet.engine("a:1").weight()).isEqualTo(3);
        first.remove(A.address());
        assertThat(fleet.engine("a:1").weight()).isEqualTo(4);
        assertThat(fleet.events()).containsExactly("+a:1", "+a:1", "+a:1");
    }

    @Test
    void sourcesThatHaveStartedAreClosedIfOneCannotStart(@TempDir Path folder) throws IOException {
        List<String> closed = new ArrayList<>();
        EngineSource good = new EngineSource() {
            @Override
            public void start(EngineListener listener) {}

            @Override
            public String description() {
                return "good";
            }

            @Override
            public void close() {
                closed.add("good");
            }
        };
        Path file = Files.writeString(folder.resolve("wrong.yaml"), "prefilers: []");
        EngineSource wrong = new FileEngines(file);
        assertThatExceptionOfType(DiscoveryException.class)
                .isThrownBy(() -> new CompositeSource(List.of(good, wrong)).start(fleet))
                .withMessageContaining("wrong.yaml");
        assertThat(closed).containsExactly("good");
    }

    @Test
    void registrationThatIsNotRenewedEnds() {
        first.start(fleet);
        long start = System.nanoTime();
        first.add(A, Optional.of(Duration.ofSeconds(2)));
        first.add(B, Optional.empty());
        while (System.nanoTime() - start < Duration.ofMillis(3500).toNanos()) {
            first.add(A, Optional.of(Duration.ofSeconds(2)));
            assertThat(fleet.addresses()).contains("a:1");
            java.util.concurrent.locks.LockSupport.parkNanos(
                    Duration.ofMillis(50).toNanos());
        }
        fleet.awaitFleet("b:1");
        assertThat(fleet.events()).containsExactly("+a:1", "+b:1", "-a:1");
    }

    @Test
    void operatorsRoleAndWeightGoBeforeTheSourceUntilItSaysSomethingNew() {
        FleetOverrides overrides = new FleetOverrides(fleet);
        first.start(overrides);
        first.add(A, Optional.empty());
        assertThat(overrides.setRole(A.address(), EngineRole.DECODER)).contains(A.withRole(EngineRole.DECODER));
        assertThat(overrides.setWeight(A.address(), 3)).isPresent();
        assertThat(fleet.engine("a:1")).isEqualTo(A.withRole(EngineRole.DECODER).withWeight(3));
        overrides.joined(A); // the same again, as a renewed registration says it
        assertThat(fleet.engine("a:1")).isEqualTo(A.withRole(EngineRole.DECODER).withWeight(3));
        first.add(A.withWeight(5), Optional.empty());
        assertThat(fleet.engine("a:1")).isEqualTo(A.withRole(EngineRole.DECODER).withWeight(5));
        first.remove(A.address());
        first.add(A, Optional.empty());
        assertThat(fleet.engine("a:1")).isEqualTo(A);
        assertThat(overrides.setRole(B.address(), EngineRole.BOTH)).isEmpty();
        assertThatExceptionOfType(DiscoveryException.class)
                .isThrownBy(() -> overrides.setWeight(A.address(), 0))
                .withMessageContaining("needed is a number over 0");
        assertThat(fleet.engine("a:1")).isEqualTo(A);
    }
}
