package dev.baton.transfer.mooncake;

import dev.baton.transfer.KvLease;
import dev.baton.transfer.Remembered;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.BiConsumer;
import org.jspecify.annotations.Nullable;

/// Where a prefiller's two halves of a hand-off meet, by `transfer_id`: its own request, which ends when it ends,
/// and the decoder's question, which may come before or after. Bookkeeping only.
///
/// Thread-safe; nothing is called under its lock.
final class Rendezvous {
    /// Questions that wait for their prefill, at most.
    private static final int MAX_WAITING = 10_000;
    /// Hand-offs that have ended and are remembered, so that a late question is answered at once.
    private static final int MAX_REMEMBERED = 4_096;

    /// One decoder's question about one transfer.
    interface Question {
        String transferId();

        /// Whether it asks for no blocks, but for the prefiller to let go.
        boolean isRelease();

        /// Ends it without blocks.
        void fail(String reason);

        /// [System#nanoTime()] at which it has waited long enough.
        long deadlineNanos();
    }

    /// Blocks that are held for a decoder.
    ///
    /// @param promptDigest of the prompt that they hold
    record Held(KvLease lease, String promptDigest) {}

    private static final class Meeting {
        private @Nullable Held held;
        private final List<Question> waiting = new ArrayList<>(1);
    }

    private final BiConsumer<Question, Held> onBoth;
    private final Map<String, Meeting> meetings = new HashMap<>(); // by transfer id; guarded by this
    private final Map<String, String> transfers = new HashMap<>(); // transfer id by request id, held ones; by this
    private final Map<String, String> over = Remembered.atMost(MAX_REMEMBERED); // why, by transfer id; guarded by this
    private int numWaiting; // guarded by this

    /// @param onBoth told when question and blocks are both there; must return at once
    Rendezvous(BiConsumer<Question, Held> onBoth) {
        this.onBoth = onBoth;
    }

    /// A decoder asks.
    void asked(Question question) {
        @Nullable String refusal = null;
        @Nullable Held held = null;
        synchronized (this) {
            String ended = over.get(question.transferId());
            Meeting meeting = meetings.get(question.transferId());
            if (meeting != null && meeting.held != null) {
                held = meeting.held;
            } else if (meeting == null && ended != null) {
                refusal = ended;
            } else if (numWaiting >= MAX_WAITING) {
                refusal = "%d questions wait for their prefill already".formatted(MAX_WAITING);
            } else {
                meetings.computeIfAbsent(question.transferId(), _ -> new Meeting())
                        .waiting
                        .add(question);
                numWaiting++;
            }
        }
        if (held != null) {
            onBoth.accept(question, held);
        } else if (refusal != null) {
            question.fail(refusal);
        }
    }

    /// Whether the decoder has let go of a transfer already.
    synchronized boolean isReleased(String transferId) {
        Meeting meeting = meetings.get(transferId);
        return meeting != null && meeting.waiting.stream().anyMatch(Question::isRelease);
    }

    /// Whether blocks are held under this id now.
    synchronized boolean isHeld(String transferId) {
        Meeting meeting = meetings.get(transferId);
        return meeting != null && meeting.held != null;
    }

    /// The handle of the lease that blocks are held by under this id now, if they are.
    synchronized Optional<String> lease(String transferId) {
        Meeting meeting = meetings.get(transferId);
        return meeting == null || meeting.held == null
                ? Optional.empty()
                : Optional.of(meeting.held.lease().handle());
    }

    /// The blocks are there.
    void held(String transferId, Held held) {
        List<Question> ready;
        synchronized (this) {
            over.remove(transferId);
            Meeting meeting = meetings.computeIfAbsent(transferId, _ -> new Meeting());
            meeting.held = held;
            transfers.put(held.lease().requestId(), transferId);
            ready = takeWaiting(meeting);
        }
        ready.forEach(question -> onBoth.accept(question, held));
    }

    /// The blocks will not come.
    void notHeld(String transferId, String reason) {
        List<Question> waiting = List.of();
        synchronized (this) {
            Meeting meeting = meetings.get(transferId);
            if (meeting != null && meeting.held != null) {
                return; // another request of that id
            }
            if (meeting != null) {
                waiting = takeWaiting(meeting);
                meetings.remove(transferId);
            }
            over.put(transferId, reason);
        }
        waiting.forEach(question -> question.fail(reason));
    }

    /// The lease on a request's blocks has ended.
    synchronized void ended(String requestId, String reason) {
        String transferId = transfers.remove(requestId);
        if (transferId != null) {
            meetings.remove(transferId);
            over.put(transferId, reason);
        }
    }

    /// Ends questions that have waited long enough.
    ///
    /// @return nanoseconds until the next one has, [Long#MAX_VALUE] if none waits
    long expireDue(long nowNanos) {
        List<Question> late = new ArrayList<>();
        long next = Long.MAX_VALUE;
        synchronized (this) {
            Iterator<Meeting> all = meetings.values().iterator();
            while (all.hasNext()) {
                Meeting meeting = all.next();
                Iterator<Question> waiting = meeting.waiting.iterator();
                while (waiting.hasNext()) {
                    Question question = waiting.next();
                    long left = question.deadlineNanos() - nowNanos;
                    if (left <= 0) {
                        late.add(question);
                        waiting.remove();
                        numWaiting--;
                    } else {
                        next = Math.min(next, left);
                    }
                }
                if (meeting.waiting.isEmpty() && meeting.held == null) {
                    all.remove();
                }
            }
        }
        late.forEach(question -> question.fail("Timeout waiting for P side ready."));
        return next;
    }

    /// Questions that wait.
    synchronized int numWaiting() {
        return numWaiting;
    }

    private List<Question> takeWaiting(Meeting meeting) {
        List<Question> taken = List.copyOf(meeting.waiting);
        meeting.waiting.clear();
        numWaiting -= taken.size();
        return taken;
    }
}
