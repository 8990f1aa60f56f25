package dev.baton.cli;

import dev.baton.engine.Engine;
import dev.baton.engine.EngineConfig;
import dev.baton.engine.EngineRequest;
import dev.baton.engine.RequestOutput;
import dev.baton.engine.SamplingParams;
import dev.baton.model.LoadOptions;
import dev.baton.model.LoadOptions.LoadFormat;
import dev.baton.model.ModelLoader;
import dev.baton.model.cuda.CudaModel;
import dev.baton.model.cuda.CudaOptions;
import dev.baton.tensor.DType;
import dev.baton.transfer.KvConnectorFactory;
import dev.baton.transfer.KvLoadFailurePolicy;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferConfig;
import dev.baton.transfer.KvTransferParams;
import dev.baton.transfer.tcp.TcpConnector;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/// One engine on the GPU for the checks of hand-offs: one sequence, greedy outputs. Used from one thread.
final class HandOffEngine implements AutoCloseable {
    private static final int MAX_SEQUENCES = 2;
    static final int SPARE_TOKENS = 512;

    private final Engine engine;

    /// @param folder with the model, or with `config.json` alone if the weights are random
    /// @param longest tokens of the longest prompt
    /// @param transfer what the connector is to be, if there is to be one
    /// @param connectors makes it
    HandOffEngine(
            Path folder,
            boolean isDummy,
            int blockTokens,
            int longest,
            Optional<KvTransferConfig> transfer,
            KvConnectorFactory connectors) {
        this(folder, isDummy, blockTokens, longest, longest + SPARE_TOKENS, transfer, connectors);
    }

    /// @param stepTokens tokens that a step computes at most
    HandOffEngine(
            Path folder,
            boolean isDummy,
            int blockTokens,
            int longest,
            int stepTokens,
            Optional<KvTransferConfig> transfer,
            KvConnectorFactory connectors) {
        int maxModelLen = longest + SPARE_TOKENS;
        CudaOptions cuda = new CudaOptions(0, maxModelLen, MAX_SEQUENCES, maxModelLen, blockTokens, System.getenv());
        LoadOptions load = LoadOptions.defaults().withFormat(isDummy ? LoadFormat.DUMMY : LoadFormat.AUTO);
        CudaModel model = ModelLoader.loadCuda(folder, load, cuda);
        EngineConfig.Builder config = EngineConfig.builder("checked", maxModelLen)
                .blockTokens(blockTokens)
                .numBlocks(3 * Math.ceilDiv(maxModelLen, blockTokens))
                .maxNumSeqs(MAX_SEQUENCES)
                .maxNumBatchedTokens(stepTokens)
                .kvCacheDtype(DType.BF16)
                .kvTransfer(transfer);
        try {
            engine = Engine.start(config.build(), model, connectors);
        } catch (RuntimeException | Error e) {
            model.close();
            throw e;
        }
    }

    /// A connector's configuration on this host.
    ///
    /// @param cudaIpc whether a TCP connector's blocks may go from GPU to GPU
    static KvTransferConfig transfer(String connector, KvRole role, boolean cudaIpc) {
        Map<String, Object> patience = Map.of("kv_peer_timeout", 20);
        return new KvTransferConfig(
                connector,
                role,
                UUID.randomUUID().toString(),
                "127.0.0.1",
                0,
                KvLoadFailurePolicy.RECOMPUTE,
                connector.equals(TcpConnector.NAME)
                        ? Map.of("kv_cuda_ipc", cudaIpc, "kv_push_layers", "always", "kv_peer_timeout", 20)
                        : patience);
    }

    /// What came of a request.
    ///
    /// @param externalTokens tokens of the prompt that were handed over
    /// @param firstTokenMillis from the request to its first token
    /// @param secondTokenMillis from the request to its second token, 0 if there is none
    record Answer(
            List<Integer> tokens,
            KvTransferParams params,
            int externalTokens,
            double firstTokenMillis,
            double secondTokenMillis) {}

    Answer generate(int[] prompt, int newTokens, KvTransferParams params) {
        return generate(prompt, newTokens, params, 0);
    }

    /// @param abortMillis when the request is aborted; 0 if it is not
    Answer generate(int[] prompt, int newTokens, KvTransferParams params, long abortMillis) {
        String id = UUID.randomUUID().toString();
        long start = System.nanoTime();
        List<Long> tokenNanos = new ArrayList<>();
        SamplingParams sampling =
                SamplingParams.greedy(newTokens).toBuilder().ignoreEos(true).build();
        List<Integer> tokens = new ArrayList<>();
        CompletableFuture<RequestOutput.Finish> finish = new CompletableFuture<>();
        engine.submit(new EngineRequest(id, prompt, sampling, params), output -> {
            for (int token : output.tokenIds()) {
                tokenNanos.add(System.nanoTime() - start);
                tokens.add(token);
            }
            output.finish().ifPresent(finish::complete);
        });
        if (abortMillis > 0) {
            CompletableFuture.delayedExecutor(abortMillis, TimeUnit.MILLISECONDS)
                    .execute(() -> engine.abort(id));
        }
        RequestOutput.Finish ended = finish.join();
        return new Answer(
                tokens, ended.kvTransferParams(), ended.externalTokens(), millis(tokenNanos, 0), millis(tokenNanos, 1));
    }

    private static double millis(List<Long> nanos, int index) {
        return index < nanos.size() ? nanos.get(index) / 1e6 : 0;
    }

    @Override
    public void close() {
        engine.close();
    }
}
