package dev.baton.engine;

import dev.baton.model.CausalLm;
import java.util.concurrent.CompletableFuture;

/// An inference engine over one model: takes requests, batches them continuously, and reports their tokens.
///
/// Thread-safe: any thread may submit and abort; one platform thread, the engine's, does the work and calls the
/// listeners. Owns the model and the KV cache's memory and closes both.
@SuppressWarnings("DoNotCallSuggester") // signatures first; the bodies follow
public final class Engine implements AutoCloseable {
    private Engine() {}

    /// Starts an engine.
    ///
    /// @param model the model; closed with the engine
    public static Engine start(EngineConfig config, CausalLm model) {
        throw new IllegalStateException("not built: " + config + model);
    }

    public EngineConfig config() {
        throw new IllegalStateException("not built");
    }

    /// Takes a request; its outputs go to `listener` until one with a finish.
    ///
    /// @throws EngineException.QueueFull if too many requests wait
    /// @throws EngineException.Dead if the engine has stopped
    /// @throws IllegalArgumentException if the prompt is empty or longer than the context or than the pool
    public void submit(EngineRequest request, RequestListener listener) {
        throw new IllegalStateException("not built: " + request + listener);
    }

    /// Ends a request early: its listener gets a finish with [FinishReason#ABORT]; blocks held for a decoder are let
    /// go.
    /// Does nothing if there is no such request.
    public void abort(String requestId) {
        throw new IllegalStateException("not built: " + requestId);
    }

    /// A snapshot of gauges and counters.
    public EngineStats stats() {
        throw new IllegalStateException("not built");
    }

    /// Checks, on the engine's thread, that every block is accounted for.
    ///
    /// @return the usage; completes exceptionally with an [IllegalStateException] that names what is wrong
    public CompletableFuture<BlockUsage> checkIntegrity() {
        throw new IllegalStateException("not built");
    }

    /// Forgets every cached block that no request uses.
    ///
    /// @return false if a request is running, in which case nothing happens
    public CompletableFuture<Boolean> resetPrefixCache() {
        throw new IllegalStateException("not built");
    }

    /// Whether the engine makes progress: false once its thread has ended or a step has overrun its deadline.
    public boolean isHealthy() {
        throw new IllegalStateException("not built");
    }

    /// What runs and on what, for the start banner: model, backend, KV cache, connector.
    public String describe() {
        throw new IllegalStateException("not built");
    }

    /// Stops: requests in flight end with [FinishReason#ABORT], the connector, the model and the pool are closed.
    @Override
    public void close() {
        throw new IllegalStateException("not built");
    }
}
