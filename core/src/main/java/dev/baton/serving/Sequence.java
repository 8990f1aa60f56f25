package dev.baton.serving;

import dev.baton.engine.FinishReason;
import dev.baton.engine.RequestOutput;
import dev.baton.engine.SamplingParams;
import dev.baton.openai.PromptLogprob;
import dev.baton.openai.StopReason;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/// One choice of a request: what the engine is asked for, and what has come of it so far. Event loop only, but for
/// the parts that never change.
final class Sequence {
    private final int index;
    private final String engineId;
    private final EncodedPrompt prompt;
    private final SamplingParams sampling;
    private final boolean firstOfPrompt;
    private final SequenceText text;
    private boolean closed;
    private boolean done;
    private long firstNanos;
    private long lastNanos;
    private String finishReason = "";
    private StopReason stopReason = new StopReason.None();
    private RequestOutput.@Nullable Finish finish;

    /// @param index of the choice in the answer
    /// @param engineId unique in the engine
    /// @param firstOfPrompt whether this is the first choice of its prompt, which counts the prompt's tokens
    Sequence(
            int index,
            String engineId,
            EncodedPrompt prompt,
            SamplingParams sampling,
            boolean firstOfPrompt,
            SequenceText text) {
        this.index = index;
        this.engineId = engineId;
        this.prompt = prompt;
        this.sampling = sampling;
        this.firstOfPrompt = firstOfPrompt;
        this.text = text;
    }

    int index() {
        return index;
    }

    String engineId() {
        return engineId;
    }

    EncodedPrompt prompt() {
        return prompt;
    }

    SamplingParams sampling() {
        return sampling;
    }

    boolean isFirstOfPrompt() {
        return firstOfPrompt;
    }

    /// Tokens generated so far.
    int numTokens() {
        return text.numTokens();
    }

    /// What is to be said about the prompt's tokens, if asked for.
    Optional<List<PromptLogprob>> promptLogprobs() {
        return text.promptLogprobs();
    }

    /// Whether the client is to see no more of it: a stop text was found, or the engine has ended it.
    boolean isClosed() {
        return closed;
    }

    /// Why it is closed, in the API's words; empty while it is not.
    Optional<String> finishReason() {
        return finishReason.isEmpty() ? Optional.empty() : Optional.of(finishReason);
    }

    StopReason stopReason() {
        return stopReason;
    }

    /// How the engine ended it, once it has.
    Optional<RequestOutput.Finish> finish() {
        return Optional.ofNullable(finish);
    }

    /// Takes the engine's end of the sequence.
    ///
    /// @return false if it was taken before
    boolean end(RequestOutput.Finish how) {
        if (done) {
            return false;
        }
        done = true;
        finish = how;
        return true;
    }

    /// Notes when tokens came.
    ///
    /// @return when the tokens before these came, 0 if these are the first
    long tokensAt(long nanos) {
        long before = lastNanos;
        if (firstNanos == 0) {
            firstNanos = nanos;
        }
        lastNanos = nanos;
        return before;
    }

    /// Time from the first tokens to the last ones.
    long decodeNanos() {
        return lastNanos - firstNanos;
    }

    /// Turns an output of the engine into text, and closes the sequence if that is its end.
    SequenceText.Delta accept(RequestOutput output) {
        SequenceText.Delta delta = text.accept(output);
        if (delta.stop().isPresent()) {
            close("stop", new StopReason.StopText(delta.stop().get()));
        } else if (output.finish().isPresent()) {
            RequestOutput.Finish how = output.finish().get();
            close(
                    how.reason() == FinishReason.STOP ? "stop" : "length",
                    how.stopTokenId().isPresent()
                            ? new StopReason.StopToken(how.stopTokenId().getAsInt())
                            : new StopReason.None());
        }
        return delta;
    }

    private void close(String reason, StopReason stop) {
        closed = true;
        finishReason = reason;
        stopReason = stop;
    }
}
