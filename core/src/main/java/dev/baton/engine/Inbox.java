package dev.baton.engine;

import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;

/// Messages for the engine's thread: left by any thread, read by that one. Those that need not wait for a
/// step's end are read before the others.
final class Inbox {
    private final Queue<EngineMessage> messages = new ConcurrentLinkedQueue<>();
    private final Queue<EngineMessage> ofNoStep = new ConcurrentLinkedQueue<>();
    private volatile @Nullable Thread reader;

    /// Leaves a message and wakes the reader.
    void post(EngineMessage message) {
        (message.isOfNoStep() ? ofNoStep : messages).add(message);
        LockSupport.unpark(reader);
    }

    /// The oldest message, or null if there is none.
    @Nullable
    EngineMessage poll() {
        EngineMessage first = ofNoStep.poll();
        return first == null ? messages.poll() : first;
    }

    /// The oldest message that can be dealt with while a step is under way, or null if there is none.
    @Nullable
    EngineMessage pollDuringStep() {
        return ofNoStep.poll();
    }

    /// Whether no message lies here.
    boolean isEmpty() {
        return messages.isEmpty() && ofNoStep.isEmpty();
    }

    /// Names the thread that is to be woken; messages may lie here already.
    void readBy(Thread thread) {
        reader = thread;
    }

    /// Sleeps until a message comes; returns at once if one lies here. Reader only.
    void await() {
        // Looked at again: the reader may have waited for something else since it read the last message, and the
        // wake-up of the next one was spent on that.
        if (isEmpty()) {
            LockSupport.park(this);
        }
        // An interrupt, which nobody has reason to send, would turn sleeping into spinning.
        Thread.interrupted();
    }
}
