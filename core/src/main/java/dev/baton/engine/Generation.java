package dev.baton.engine;

import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.function.IntConsumer;

/// One request's tokens for a caller that waits for them, from [Engine#generate]. The engine does not wait for the
/// caller: tokens queue up, `maxTokens` at most. Thread-safe as a whole; meant for one caller.
public final class Generation {
    private final Engine engine;
    private final String requestId;
    private final BlockingQueue<RequestOutput> outputs = new LinkedBlockingQueue<>();

    Generation(Engine engine, String requestId) {
        this.engine = engine;
        this.requestId = requestId;
    }

    void add(RequestOutput output) {
        outputs.add(output);
    }

    /// Hands each token to `action`, on the calling thread, as it comes, the stop token included; to be called
    /// once. If `action` throws or the thread is interrupted, the request is aborted.
    ///
    /// @return how the request ended: [FinishReason#STOP] or [FinishReason#LENGTH]
    /// @throws EngineException if it ended for another reason
    public RequestOutput.Finish forEachToken(IntConsumer action) throws InterruptedException {
        boolean over = false;
        try {
            while (true) {
                RequestOutput output = outputs.take();
                over = output.finish().isPresent();
                for (int token : output.tokenIds()) {
                    action.accept(token);
                }
                if (over) {
                    return completed(output.finish().get());
                }
            }
        } finally {
            if (!over) {
                engine.abort(requestId);
            }
        }
    }

    private RequestOutput.Finish completed(RequestOutput.Finish finish) {
        return switch (finish.reason()) {
            case STOP, LENGTH -> finish;
            case ABORT -> throw new EngineException("request " + requestId + " was aborted");
            case ERROR ->
                throw new EngineException(
                        "request " + requestId + " failed: " + finish.error().orElse("no reason was given"));
        };
    }
}
