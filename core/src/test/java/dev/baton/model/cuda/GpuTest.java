package dev.baton.model.cuda;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.tensor.cuda.check.CheckResult;
import dev.baton.tensor.cuda.check.KernelChecks;
import dev.baton.tensor.cuda.check.PeerChecks;
import dev.baton.tensor.cuda.owned.Context;
import java.net.URISyntaxException;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/// What `baton gpu-check` looks at, where there is a GPU.
class GpuTest {
    private static final Map<String, String> ENVIRONMENT = System.getenv();

    @BeforeEach
    void thereIsAGpu() {
        Optional<String> missing = Context.missing(ENVIRONMENT);
        Assumptions.assumeTrue(missing.isEmpty(), () -> missing.orElse(""));
    }

    private static void assertPassed(List<CheckResult> results) {
        assertThat(results).isNotEmpty().allMatch(CheckResult::passed);
    }

    @Test
    void everyKernelComputesWhatTheCpuComputes() {
        try (Context context = Context.open(0, ENVIRONMENT)) {
            assertPassed(KernelChecks.run(context, ENVIRONMENT, System.nanoTime()));
        }
    }

    @Test
    void everyFamilyComputesWhatTransformersComputes() throws URISyntaxException {
        Path fixture =
                Path.of(Objects.requireNonNull(GpuTest.class.getResource("/fixtures/model/llama-bf16/expected.json"))
                        .toURI());
        assertPassed(ModelChecks.fixtures(
                Objects.requireNonNull(
                        Objects.requireNonNull(fixture.getParent()).getParent()),
                ENVIRONMENT,
                new ModelChecks.Ranks(List.of(0), true),
                _ -> {}));
    }

    @Test
    void ranksThatShareAGpuAddUpWhatTheHostAddsUp() {
        assertPassed(PeerChecks.run(List.of(0, 0, 0), ENVIRONMENT, System.nanoTime(), _ -> {}));
    }
}
