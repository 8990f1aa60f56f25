package dev.baton.bench;

import java.util.List;

/// What became of one request, with times as the client saw them.
///
/// @param promptTokens as the server counted them if it said so, else as they were sent
/// @param outputTokens as the server counted them if it said so, else the tokens of the text; 0 if it failed
/// @param ttftSeconds from sending to the first chunk
/// @param itlSeconds between chunks; one fewer than there were chunks
/// @param latencySeconds from sending to the last chunk
/// @param startSeconds when it was sent, on the clock of all results of a run
/// @param queueSeconds that it waited here because of `--max-concurrency`
/// @param error empty if it succeeded
public record RequestResult(
        boolean success,
        int promptTokens,
        int outputTokens,
        double ttftSeconds,
        List<Double> itlSeconds,
        double latencySeconds,
        double startSeconds,
        double queueSeconds,
        String text,
        String error) {

    double endSeconds() {
        return startSeconds + latencySeconds;
    }

    /// Time per output token after the first; 0 if there is no second.
    double tpotSeconds() {
        return outputTokens > 1 ? (latencySeconds - ttftSeconds) / (outputTokens - 1) : 0;
    }
}
