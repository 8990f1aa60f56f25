package dev.baton.engine;

import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/// What one step computes: which requests, and how many tokens of each. Reused from step to step. Engine thread
/// only.
final class SchedulerOutput {
    private final @Nullable Request[] requests;
    private final int[] numScheduledTokens;
    private final int[] numLogits;
    private int numRequests;
    private int numTokens;
    private int numPreempted;
    private boolean isAhead;

    SchedulerOutput(int maxRequests) {
        this.requests = new @Nullable Request[maxRequests];
        this.numScheduledTokens = new int[maxRequests];
        this.numLogits = new int[maxRequests];
    }

    void clear() {
        Arrays.fill(requests, 0, numRequests, null);
        numRequests = 0;
        numTokens = 0;
        numPreempted = 0;
        isAhead = false;
    }

    /// Makes this a step whose tokens are those that the step under way chooses.
    void runAhead() {
        isAhead = true;
    }

    /// Whether the step was scheduled before its tokens were known: one token of each request.
    boolean isAhead() {
        return isAhead;
    }

    void add(Request request, int numTokens) {
        requests[numRequests] = request;
        numScheduledTokens[numRequests] = numTokens;
        numLogits[numRequests] = request.promptLogitsRows(numTokens) + (samples(numRequests) ? 1 : 0);
        numRequests++;
        this.numTokens += numTokens;
    }

    void addPreempted() {
        numPreempted++;
    }

    int numRequests() {
        return numRequests;
    }

    /// Tokens of all requests together.
    int numTokens() {
        return numTokens;
    }

    /// Requests that lost their blocks in this step.
    int numPreempted() {
        return numPreempted;
    }

    Request request(int i) {
        Request request = requests[i];
        if (request == null) {
            throw new IndexOutOfBoundsException("request " + i + " of " + numRequests);
        }
        return request;
    }

    int numScheduledTokens(int i) {
        return numScheduledTokens[i];
    }

    /// Whether the step reaches the request's last token, so that the next one is sampled.
    boolean samples(int i) {
        Request request = request(i);
        return request.numComputedTokens + numScheduledTokens[i] == request.numTokens();
    }

    /// How many of the request's last tokens in this step need logits: for the log-probabilities of the prompt,
    /// and for the sample.
    int numLogits(int i) {
        return numLogits[i];
    }
}
