package dev.baton.engine;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.model.CausalLm;
import dev.baton.model.LoadOptions;
import dev.baton.model.ModelLoader;
import dev.baton.tensor.DType;
import dev.baton.transfer.KvLoadFailurePolicy;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferConfig;
import dev.baton.transfer.KvTransferParams;
import java.net.URISyntaxException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/// Hand-offs of a real model between engines whose KV caches have elements of one type, and of two.
@Timeout(value = 60, unit = TimeUnit.SECONDS)
class KvCacheDtypeHandOffTest {
    private static final int OUTPUT_TOKENS = 24;

    private static Engine start(Optional<KvRole> role, DType kvDtype) {
        EngineConfig config = EngineConfig.builder("llama", 128)
                .blockTokens(8)
                .numBlocks(64)
                .maxNumSeqs(4)
                .maxNumBatchedTokens(32)
                .maxWaiting(16)
                .enablePrefixCaching(false)
                .kvCacheDtype(kvDtype)
                .stepDeadline(Duration.ofSeconds(20))
                .kvTransfer(role.map(r -> new KvTransferConfig(
                        "TcpConnector", r, r.name(), "127.0.0.1", 0, KvLoadFailurePolicy.FAIL, Map.of())))
                .build();
        return Engine.start(config, model());
    }

    private static CausalLm model() {
        try {
            Path config = Path.of(Objects.requireNonNull(
                            KvCacheDtypeHandOffTest.class.getResource("/fixtures/model/llama-f32/config.json"))
                    .toURI());
            return ModelLoader.load(
                    Objects.requireNonNull(config.getParent()),
                    LoadOptions.defaults().withCpuThreads(2));
        } catch (URISyntaxException e) {
            throw new IllegalStateException(e);
        }
    }

    private static int[] prompt(int length) {
        return new Random(length).ints(length, 0, 100).toArray();
    }

    private static KvTransferParams prefill(Engine prefiller, String id, int[] prompt) {
        Collected first = new Collected();
        prefiller.submit(
                new EngineRequest(id, prompt, SamplingParams.greedy(1), KvTransferParams.REMOTE_DECODE), first);
        return first.await().kvTransferParams();
    }

    private static Collected decode(Engine engine, String id, int[] prompt, KvTransferParams source) {
        Collected answer = new Collected();
        engine.submit(new EngineRequest(id, prompt, SamplingParams.greedy(OUTPUT_TOKENS), source), answer);
        return answer;
    }

    @ParameterizedTest
    @EnumSource(DType.class)
    void tokensOfAHandOffEqualThoseOfOneEngine(DType kvDtype) {
        try (Engine alone = start(Optional.empty(), kvDtype);
                Engine prefiller = start(Optional.of(KvRole.KV_PRODUCER), kvDtype);
                Engine decoder = start(Optional.of(KvRole.KV_CONSUMER), kvDtype)) {
            assertThat(alone.describe()).contains(kvDtype.torchName());
            for (int length : new int[] {1, 7, 8, 9, 16, 40, 63}) {
                int[] prompt = prompt(length);
                String id = "r" + length;
                Collected expected = decode(alone, id, prompt, KvTransferParams.NONE);
                assertThat(expected.await().error()).isEmpty();
                Collected actual = decode(decoder, id, prompt, prefill(prefiller, id, prompt));
                assertThat(actual.await().error()).isEmpty();
                assertThat(actual.tokens()).as("%d tokens", length).isEqualTo(expected.tokens());
            }
            assertThat(decoder.transferStats().numTransfers()).isPositive();
        }
    }

    @Test
    void handOffBetweenCachesOfDifferentTypesIsRefused() {
        try (Engine prefiller = start(Optional.of(KvRole.KV_PRODUCER), DType.F32);
                Engine decoder = start(Optional.of(KvRole.KV_CONSUMER), DType.BF16)) {
            int[] prompt = prompt(40);
            Collected answer = decode(decoder, "r", prompt, prefill(prefiller, "r", prompt));
            assertThat(answer.await().error())
                    .hasValueSatisfying(error -> assertThat(error)
                            .contains(
                                    "cache_dtype differs",
                                    "\"float32\" on KV_PRODUCER",
                                    "\"bfloat16\" on KV_CONSUMER"));
        }
    }
}
