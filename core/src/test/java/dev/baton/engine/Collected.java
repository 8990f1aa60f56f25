package dev.baton.engine;

import dev.baton.engine.RequestOutput.Finish;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/// A listener that keeps what it gets and complains about outputs after the end.
public class Collected implements RequestListener {
    private final List<Integer> tokens = new ArrayList<>(); // guarded by this
    private final List<RequestOutput.TokenLogprobs> logprobs = new ArrayList<>(); // guarded by this
    private final List<RequestOutput.TokenLogprobs> promptLogprobs = new ArrayList<>(); // guarded by this
    private final CompletableFuture<Finish> finish = new CompletableFuture<>();
    private final List<String> late = new ArrayList<>(); // guarded by this

    @Override
    public synchronized void onOutput(RequestOutput output) {
        if (finish.isDone()) {
            late.add(output + " after " + finish.join());
        }
        if (!output.promptLogprobs().isEmpty() && !tokens.isEmpty()) {
            late.add("log-probabilities of the prompt after the first token");
        }
        promptLogprobs.addAll(output.promptLogprobs());
        for (int token : output.tokenIds()) {
            tokens.add(token);
        }
        logprobs.addAll(output.logprobs());
        output.finish().ifPresent(finish::complete);
    }

    /// The end of the request; fails if it does not come in time.
    public Finish await() {
        try {
            return finish.get(40, TimeUnit.SECONDS);
        } catch (Exception e) {
            throw new AssertionError("no end within " + Duration.ofSeconds(40) + "; tokens so far: " + tokens(), e);
        }
    }

    public boolean isDone() {
        return finish.isDone();
    }

    public synchronized int numTokens() {
        return tokens.size();
    }

    public synchronized int[] tokens() {
        return tokens.stream().mapToInt(Integer::intValue).toArray();
    }

    synchronized List<RequestOutput.TokenLogprobs> logprobs() {
        return List.copyOf(logprobs);
    }

    synchronized List<RequestOutput.TokenLogprobs> promptLogprobs() {
        return List.copyOf(promptLogprobs);
    }

    /// What came after the finish: nothing should.
    public synchronized List<String> late() {
        return List.copyOf(late);
    }
}
