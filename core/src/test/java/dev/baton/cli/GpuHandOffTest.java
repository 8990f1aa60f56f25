package dev.baton.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.tensor.cuda.check.CheckResult;
import dev.baton.tensor.cuda.owned.Context;
import dev.baton.transfer.nixl.NixlConnector;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/// The hand-offs of `baton gpu-check` between a prefiller's process and a decoder, where there is a GPU.
@Timeout(300)
class GpuHandOffTest {
    private static final Path MODEL = Baton.repository().resolve("models/baton-tiny");
    private static final int BLOCK_TOKENS = 16;

    @BeforeEach
    void thereIsAGpu() {
        Optional<String> missing = Context.missing(System.getenv());
        Assumptions.assumeTrue(missing.isEmpty(), () -> missing.orElse(""));
        Assumptions.assumeTrue(Files.exists(MODEL.resolve("config.json")), "the embedded model is not there");
    }

    private static void assertPassed(List<CheckResult> results) {
        assertThat(results).isNotEmpty().allMatch(CheckResult::passed);
    }

    @Test
    void overTcpTheTokensAreThoseOfOneEngine() {
        assertPassed(HandOffChecks.run(MODEL, false, BLOCK_TOKENS, 0, System.nanoTime()));
    }

    @Test
    void overNixlTheTokensAreThoseOfOneEngine() {
        Optional<String> missing = NixlConnector.missing(System.getenv());
        Assumptions.assumeTrue(missing.isEmpty(), () -> missing.orElse(""));
        for (int device = 0; device < Math.min(2, Context.count(System.getenv())); device++) {
            assertPassed(HandOffChecks.nixl(MODEL, false, BLOCK_TOKENS, device, System.nanoTime()));
        }
    }
}
