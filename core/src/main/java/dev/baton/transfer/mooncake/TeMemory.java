package dev.baton.transfer.mooncake;

import java.nio.ByteBuffer;
import java.util.List;
import java.util.Optional;

/// Memory that peers may touch through a [TeServer], by the addresses that it chose for it: what is registered is
/// announced, what is not leased right now cannot be touched. Thread-safe.
interface TeMemory {
    /// What one request of a peer may do.
    enum Operation {
        READ,
        WRITE
    }

    /// A registered range of addresses.
    record Range(long address, long length) {}

    /// A peer's hold on the bytes of one request; [#end] must be called.
    interface Access {
        /// The bytes in order: together as long as the request.
        List<ByteBuffer> pieces();

        /// Gives the bytes back.
        ///
        /// @param complete whether all of them were read or written
        void end(boolean complete);
    }

    /// What is announced. Never changes, as peers keep it.
    List<Range> ranges();

    /// Lets a peer touch bytes.
    ///
    /// @param fence makes the peer's connection stop soon; called at most until [Access#end]
    /// @return empty if the peer may not do that
    Optional<Access> begin(Operation operation, long address, long length, Runnable fence);
}
