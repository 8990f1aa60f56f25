package dev.baton.transfer;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Consumer;

/// The right of decoders to read the blocks of one finished request, until a deadline.
///
/// `HELD -> ENDING -> ENDED`: a lease that must end while somebody reads first fences the readers, and has ended
/// only when the last of them has stopped. A decoder that copies blocks by itself and then releases the lease is not
/// fenced: what it says on another connection may come before the word that its copy is done, for which the lease
/// waits, until its deadline. The end is reported exactly once, with nobody reading and nobody able to begin.
///
/// Thread-safe: one lock a lease. Fences are called under it and must return at once.
public final class KvLease {
    /// Why a lease ended.
    public enum Outcome {
        RELEASED,
        EXPIRED
    }

    private enum State {
        HELD,
        ENDING,
        ENDED
    }

    /// Who reads a block right now.
    ///
    /// @param fence makes it stop
    /// @param isDecoder whether the decoder copies it by itself
    private record Reader(Runnable fence, boolean isDecoder) {}

    private final String requestId;
    private final String handle;
    private final int[] blockIds; // (blocks of the request)
    private final int numTokens;
    private final Consumer<KvLease> onEnded;
    private final ReentrantLock lock = new ReentrantLock();
    private final List<Reader> readers = new ArrayList<>(2);
    private boolean isDecoderFenced; // others are as soon as the lease is ending
    private State state = State.HELD;
    private Outcome outcome = Outcome.RELEASED; // meaningful once the state is not HELD
    private long deadlineNanos;

    KvLease(
            String requestId,
            String handle,
            int[] blockIds,
            int numTokens,
            long deadlineNanos,
            Consumer<KvLease> onEnded) {
        this.requestId = requestId;
        this.handle = handle;
        this.blockIds = blockIds.clone();
        this.numTokens = numTokens;
        this.deadlineNanos = deadlineNanos;
        this.onEnded = onEnded;
    }

    /// The request's id inside this instance.
    public String requestId() {
        return requestId;
    }

    /// The id that decoders ask with: the request's id and a generation, so that an id that is used again never
    /// lets an old hand-off read new blocks.
    public String handle() {
        return handle;
    }

    public int numBlocks() {
        return blockIds.length;
    }

    /// The pool's block that holds the request's block `index`.
    public int blockId(int index) {
        return blockIds[index];
    }

    /// Tokens that the blocks hold; the last block may be partial.
    public int numTokens() {
        return numTokens;
    }

    /// Why it ended or is ending; empty while it is held.
    public Optional<Outcome> outcome() {
        lock.lock();
        try {
            return state == State.HELD ? Optional.empty() : Optional.of(outcome);
        } finally {
            lock.unlock();
        }
    }

    /// Asks to read one block. While it is read the lease cannot end; the reader must call [#endRead] soon, and at
    /// once after its fence was called.
    ///
    /// @param fence makes the reader stop; the same object ends the reading
    /// @return false if the lease has run out or has ended: nothing may be read
    public boolean beginRead(Runnable fence, long nowNanos) {
        return begin(new Reader(fence, false), nowNanos);
    }

    /// Lets the decoder copy blocks by itself: as [#beginRead], but that its own release does not fence it.
    public boolean beginLend(Runnable fence, long nowNanos) {
        return begin(new Reader(fence, true), nowNanos);
    }

    private boolean begin(Reader reader, long nowNanos) {
        expire(nowNanos); // the timer may be late; the deadline is not
        lock.lock();
        try {
            if (state != State.HELD) {
                return false;
            }
            readers.add(reader);
            return true;
        } finally {
            lock.unlock();
        }
    }

    /// Ends the reading of one block, or of those that were lent.
    public void endRead(Runnable fence) {
        boolean last;
        lock.lock();
        try {
            Reader reader = readers.stream()
                    .filter(it -> it.fence.equals(fence))
                    .findFirst()
                    .orElseThrow(
                            () -> new TransferException("lease of %s: endRead without beginRead".formatted(requestId)));
            readers.remove(reader);
            last = endIfUnread();
        } finally {
            lock.unlock();
        }
        if (last) {
            onEnded.accept(this);
        }
    }

    /// Puts the deadline off; never brings it nearer.
    ///
    /// @return false if the lease has run out or has ended
    boolean renew(long nowNanos, long extensionNanos) {
        lock.lock();
        try {
            if (state != State.HELD || deadlineNanos - nowNanos <= 0) {
                return false;
            }
            if (nowNanos + extensionNanos - deadlineNanos > 0) {
                deadlineNanos = nowNanos + extensionNanos;
            }
            return true;
        } finally {
            lock.unlock();
        }
    }

    long remainingNanos(long nowNanos) {
        lock.lock();
        try {
            boolean canExpire = state == State.HELD || (state == State.ENDING && !isDecoderFenced);
            return canExpire ? deadlineNanos - nowNanos : Long.MAX_VALUE;
        } finally {
            lock.unlock();
        }
    }

    /// Ends the lease because it ran out; does nothing before its deadline.
    void expire(long nowNanos) {
        boolean unread;
        lock.lock();
        try {
            unread = deadlineNanos - nowNanos <= 0 && beginEnding(Outcome.EXPIRED, true);
        } finally {
            lock.unlock();
        }
        if (unread) {
            onEnded.accept(this);
        }
    }

    /// Ends the lease now, whatever its deadline; does nothing if it has ended.
    void end(Outcome why) {
        end(why, true);
    }

    /// Ends the lease since its decoder wants nothing more: what it still copies by itself is waited for until the
    /// deadline.
    void release() {
        end(Outcome.RELEASED, false);
    }

    private void end(Outcome why, boolean fencesDecoder) {
        boolean unread;
        lock.lock();
        try {
            unread = beginEnding(why, fencesDecoder);
        } finally {
            lock.unlock();
        }
        if (unread) {
            onEnded.accept(this);
        }
    }

    private boolean beginEnding(Outcome why, boolean fencesDecoder) {
        boolean isFirst = state == State.HELD;
        if (isFirst) {
            state = State.ENDING;
            outcome = why;
            fence(false);
        }
        if (fencesDecoder && !isDecoderFenced) {
            isDecoderFenced = true;
            fence(true);
        }
        return isFirst && endIfUnread();
    }

    private void fence(boolean decoders) {
        for (Reader reader : readers) {
            if (reader.isDecoder == decoders) {
                reader.fence.run();
            }
        }
    }

    private boolean endIfUnread() {
        if (state != State.ENDING || !readers.isEmpty()) {
            return false;
        }
        state = State.ENDED;
        return true;
    }
}
