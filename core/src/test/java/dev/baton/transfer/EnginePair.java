package dev.baton.transfer;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.engine.Collected;
import dev.baton.engine.Engine;
import dev.baton.engine.EngineConfig;
import dev.baton.engine.EngineScenarioTest;
import dev.baton.engine.RequestOutput;
import dev.baton.tensor.PagedKv;
import dev.baton.transfer.tcp.FakeDevice;
import java.time.Duration;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import org.jspecify.annotations.Nullable;

/// A prefiller and a decoder over the connector under test, with a model whose tokens depend on every slot of the
/// cache: what arrives wrong is a wrong token.
public final class EnginePair implements AutoCloseable {
    public static final int BLOCK_TOKENS = 16;
    public static final int NUM_BLOCKS = 40;
    static final int MAX_MODEL_LEN = 400;
    private static final int HEAD_DIM = 64;

    /// One of the two engines.
    static final class Instance implements AutoCloseable {
        final GatedLm model = new GatedLm(HEAD_DIM);
        final Engine engine;
        private @Nullable KvConnector connector;
        private long blockBytes;
        private boolean closed;

        /// @param onDevice whether the connector takes the pool for one in a device's memory
        Instance(KvTransferConfig transfer, boolean onDevice) {
            EngineConfig config = EngineConfig.builder("memory", MAX_MODEL_LEN)
                    .blockTokens(BLOCK_TOKENS)
                    .numBlocks(NUM_BLOCKS)
                    .maxNumSeqs(8)
                    .maxNumBatchedTokens(64)
                    .maxWaiting(1_000)
                    .stepDeadline(Duration.ofSeconds(60))
                    .kvTransfer(Optional.of(transfer))
                    .compatibility(Map.of("tokenizer", "none"))
                    .build();
            engine = Engine.start(config, model, (given, spec, pool, compatibility, sink) -> {
                blockBytes = spec.blockBytes();
                PagedKv seen = onDevice ? new FakeDevice(spec, "this host", pool.segment()).pool() : pool;
                connector = KvConnectors.create(given, spec, seen, compatibility, sink);
                return connector;
            });
        }

        KvConnector connector() {
            KvConnector started = connector;
            if (started == null) {
                throw new IllegalStateException("the engine has no connector");
            }
            return started;
        }

        /// Waits until the engine is idle; every block is accounted for then, and no lease or load is left.
        void quiet() {
            EngineScenarioTest.quiet(engine);
            assertThat(connector().worker().numLeases()).as("leases left").isZero();
            assertThat(connector().worker().numLoads()).as("loads left").isZero();
        }

        long blockBytes() {
            return blockBytes;
        }

        boolean isClosed() {
            return closed;
        }

        @Override
        public void close() {
            if (!closed) {
                closed = true;
                model.letGo();
                engine.close();
            }
        }
    }

    final Instance prefiller;
    final Instance decoder;

    EnginePair(KvTransferConfig prefiller, KvTransferConfig decoder) {
        this(prefiller, decoder, false);
    }

    /// @param onDevices whether the connectors take the pools for such as are in the memory of two devices
    EnginePair(KvTransferConfig prefiller, KvTransferConfig decoder, boolean onDevices) {
        // Side by side: some connectors wait for a helper process of their own.
        CompletableFuture<Instance> other = CompletableFuture.supplyAsync(
                () -> new Instance(decoder, onDevices),
                task -> Thread.ofPlatform().start(task));
        try {
            this.prefiller = new Instance(prefiller, onDevices);
        } catch (RuntimeException | Error e) {
            other.thenAccept(Instance::close);
            throw e;
        }
        try {
            this.decoder = other.join();
        } catch (RuntimeException | Error e) {
            this.prefiller.close();
            throw e;
        }
    }

    /// The prefiller's connector, for what a router has to know of it.
    public KvConnector prefillerConnector() {
        return prefiller.connector();
    }

    /// The decoder's.
    public KvConnector decoderConnector() {
        return decoder.connector();
    }

    /// Bytes of a block.
    public long blockBytes() {
        return decoder.blockBytes();
    }

    /// The tokens that one engine alone generates.
    int[] reference(int[] prompt, int maxTokens) {
        return decoder.model.reference(prompt, maxTokens, MAX_MODEL_LEN);
    }

    /// Waits for an answer, which must be that of one engine alone.
    RequestOutput.Finish verify(Collected answer, int[] prompt, int maxTokens) {
        RequestOutput.Finish finish = answer.await();
        assertThat(finish.error()).isEmpty();
        assertThat(answer.late()).isEmpty();
        assertThat(answer.tokens()).isEqualTo(reference(prompt, maxTokens));
        return finish;
    }

    /// [Instance#quiet] of the engines that live.
    void quiet() {
        if (!decoder.isClosed()) {
            decoder.quiet();
        }
        if (!prefiller.isClosed()) {
            prefiller.quiet();
        }
    }

    @Override
    public void close() {
        try (prefiller;
                decoder) {
            prefiller.model.letGo();
            decoder.model.letGo();
        }
    }
}
