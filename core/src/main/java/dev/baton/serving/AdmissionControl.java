package dev.baton.serving;

import dev.baton.openai.ApiError;
import dev.baton.openai.ApiException;
import java.util.concurrent.atomic.AtomicInteger;

/// Bounds the sequences in flight, so that an overload is refused at once instead of filling the memory.
/// Thread-safe.
final class AdmissionControl {
    private final int maxInFlight;
    private final AtomicInteger inFlight = new AtomicInteger();

    AdmissionControl(int maxInFlight) {
        this.maxInFlight = maxInFlight;
    }

    /// Takes room for the sequences of one request.
    ///
    /// @throws ApiException 400 if they never fit, 503 if they do not now
    void enter(int sequences) {
        if (sequences > maxInFlight) {
            throw new ApiException(
                    ApiError.badRequest("prompts times n must be at most " + maxInFlight + ", got " + sequences + "."));
        }
        if (inFlight.addAndGet(sequences) > maxInFlight) {
            inFlight.addAndGet(-sequences);
            throw new ApiException(
                    ApiError.unavailable("The server is full: " + maxInFlight + " sequences are in flight."));
        }
    }

    /// Gives the room back.
    void leave(int sequences) {
        inFlight.addAndGet(-sequences);
    }

    int inFlight() {
        return inFlight.get();
    }
}
