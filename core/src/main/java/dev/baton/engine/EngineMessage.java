package dev.baton.engine;

import dev.baton.transfer.KvEvent;
import java.util.concurrent.CompletableFuture;

/// What other threads ask of the engine's thread.
sealed interface EngineMessage {
    record Submit(Request request) implements EngineMessage {}

    record Abort(String requestId) implements EngineMessage {}

    record Stop(String requestId) implements EngineMessage {}

    record Transferred(KvEvent event) implements EngineMessage {}

    record CheckIntegrity(CompletableFuture<BlockUsage> answer) implements EngineMessage {}

    record ResetPrefixCache(CompletableFuture<Boolean> answer) implements EngineMessage {}

    record Close() implements EngineMessage {}
}
