package dev.baton.engine;

import dev.baton.transfer.KvEvent;
import java.util.concurrent.CompletableFuture;

/// What other threads ask of the engine's thread.
sealed interface EngineMessage {
    record Submit(Request request) implements EngineMessage {}

    record Abort(String requestId) implements EngineMessage {}

    record Stop(String requestId) implements EngineMessage {}

    record Transferred(KvEvent event) implements EngineMessage {
        /// A first token is for a request whose blocks are still on their way: no step writes to them.
        @Override
        public boolean isOfNoStep() {
            return event instanceof KvEvent.KvFirstToken;
        }
    }

    record CheckIntegrity(CompletableFuture<BlockUsage> answer) implements EngineMessage {}

    record ResetPrefixCache(CompletableFuture<Boolean> answer) implements EngineMessage {}

    record Close() implements EngineMessage {}

    /// Whether it can be dealt with while a step is under way.
    default boolean isOfNoStep() {
        return false;
    }
}
