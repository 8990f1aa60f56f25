package dev.baton.transfer.p2p;

import dev.baton.transfer.Remembered;
import dev.baton.wire.MsgPack;
import dev.baton.wire.Zmtp;
import java.io.IOException;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// Prompts that a prefiller will not push, and decoders that wait for one: so that nobody waits for a prefill
/// that was aborted. Thread-safe; nothing is sent under its lock.
final class Refusals {
    private static final Logger LOG = LoggerFactory.getLogger(Refusals.class);

    private static final int MAX_REMEMBERED = 4_096;

    private final Map<String, String> reasons = Remembered.atMost(MAX_REMEMBERED); // by tensor id; guarded by this
    private final Map<String, Zmtp> waiting = Remembered.atMost(MAX_REMEMBERED); // by tensor id; guarded by this

    /// A decoder waits for a tensor.
    void waitsFor(String tensorId, Zmtp decoder) {
        Optional<String> reason;
        synchronized (this) {
            reason = Optional.ofNullable(reasons.get(tensorId));
            if (reason.isEmpty()) {
                waiting.put(tensorId, decoder);
            }
        }
        reason.ifPresent(it -> tell(decoder, it));
    }

    /// A tensor will not be pushed.
    void refused(String tensorId, String reason) {
        Zmtp decoder;
        synchronized (this) {
            reasons.put(tensorId, reason);
            decoder = waiting.remove(tensorId);
        }
        if (decoder != null) {
            tell(decoder, reason);
        }
    }

    /// A tensor is being pushed: what becomes of it the decoder sees for itself.
    synchronized void pushed(String tensorId) {
        reasons.remove(tensorId);
        waiting.remove(tensorId);
    }

    private static void tell(Zmtp decoder, String reason) {
        Map<String, Object> answer = new LinkedHashMap<>();
        answer.put(Control.RET, 1);
        answer.put(Control.REASON, reason);
        try {
            decoder.send(MsgPack.write(answer));
        } catch (IOException e) {
            LOG.debug("a decoder that waited is not there any more: {}", e.toString());
        }
    }
}
