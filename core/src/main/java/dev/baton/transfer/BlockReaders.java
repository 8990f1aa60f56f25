package dev.baton.transfer;

import java.util.concurrent.locks.ReentrantLock;

/// Who still reads the blocks of one request that are being saved elsewhere: reads under way are counted, whoever
/// takes the blocks away fences them, and a request that has ended keeps its blocks, held, until all are done.
///
/// The hold ends once, in the call that says so. Thread-safe; [#fence] waits at most for one [#read].
public final class BlockReaders {
    private final ReentrantLock lock = new ReentrantLock();
    private int open; // guarded by lock, as all below
    private boolean fenced;
    private boolean held;

    /// One more batch of blocks is to be read.
    public void begin() {
        lock.lock();
        try {
            open++;
        } finally {
            lock.unlock();
        }
    }

    /// A batch has been read, or will not be.
    ///
    /// @return whether this was the end of the hold
    public boolean end() {
        lock.lock();
        try {
            open--;
            return open == 0 && endHold();
        } finally {
            lock.unlock();
        }
    }

    /// Runs `copy`, which reads one block and must return soon, unless the blocks belong to others by now.
    ///
    /// @return false if it did not run: nothing more can be read
    public boolean read(Runnable copy) {
        lock.lock();
        try {
            if (!fenced) {
                copy.run();
            }
            return !fenced;
        } finally {
            lock.unlock();
        }
    }

    /// Nothing is read once this returns.
    ///
    /// @return whether this was the end of the hold
    public boolean fence() {
        lock.lock();
        try {
            fenced = true;
            return endHold();
        } finally {
            lock.unlock();
        }
    }

    /// As [#fence] while the blocks are held; does nothing otherwise.
    ///
    /// @return whether this was the end of the hold
    public boolean drop() {
        lock.lock();
        try {
            fenced |= held;
            return endHold();
        } finally {
            lock.unlock();
        }
    }

    private boolean endHold() {
        boolean ended = held;
        held = false;
        return ended;
    }

    /// Holds the blocks until everything has been read.
    ///
    /// @return false if there is nothing to be read any more
    public boolean hold() {
        lock.lock();
        try {
            held = open > 0 && !fenced;
            return held;
        } finally {
            lock.unlock();
        }
    }

    public boolean isHeld() {
        lock.lock();
        try {
            return held;
        } finally {
            lock.unlock();
        }
    }

    public boolean isFenced() {
        lock.lock();
        try {
            return fenced;
        } finally {
            lock.unlock();
        }
    }
}
