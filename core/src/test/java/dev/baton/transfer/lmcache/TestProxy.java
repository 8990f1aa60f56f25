package dev.baton.transfer.lmcache;

import dev.baton.wire.MsgPack;
import dev.baton.wire.Zmtp;
import dev.baton.wire.ZmtpServer;
import java.io.IOException;
import java.time.Duration;
import java.util.Queue;

/// The ear of LMCache's proxy: hears from senders which requests' chunks are there.
public final class TestProxy {
    private TestProxy() {}

    /// @param announced gets the id of each request
    public static ZmtpServer start(Queue<String> announced) throws IOException {
        return ZmtpServer.start(
                "test-proxy",
                Zmtp.SocketType.PULL,
                "127.0.0.1",
                0,
                new ZmtpServer.Limits(8, 1 << 16, Duration.ofMinutes(1)),
                (_, message) -> announced.add(
                        MsgPack.map("a notification", Zmtp.single(message)).text("req_id")));
    }
}
