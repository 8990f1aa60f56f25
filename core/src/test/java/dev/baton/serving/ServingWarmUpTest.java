package dev.baton.serving;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.engine.BlockUsage;
import dev.baton.http.HttpServerConfig;
import java.nio.file.Path;
import java.time.Duration;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

@Timeout(value = 60, unit = TimeUnit.SECONDS)
class ServingWarmUpTest {
    @Test
    void requestsAreAnsweredAndLeaveNothingBehind(@TempDir Path directory) {
        try (Instance instance = Instance.start(directory)) {
            EngineServerConfig config = EngineServerConfig.builder(
                            HttpServerConfig.builder("127.0.0.1", 0).build(), "echo", ByteTokenizer.VOCAB)
                    .build();
            assertThat(ServingWarmUp.run(config, instance.engine, instance.tokenizer, Duration.ofSeconds(2)))
                    .isPositive();
            BlockUsage usage = instance.engine.checkIntegrity().join();
            assertThat(usage.inUse()).isZero();
            assertThat(usage.cached()).isZero();
            assertThat(instance.engine.stats().generationTokens()).isPositive();
        }
    }
}
