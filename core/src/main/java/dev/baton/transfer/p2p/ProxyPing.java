package dev.baton.transfer.p2p;

import dev.baton.transfer.KvRole;
import dev.baton.wire.MsgPack;
import dev.baton.wire.Threads;
import dev.baton.wire.Zmtp;
import dev.baton.wire.ZmtpSender;
import java.io.Closeable;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// Tells a proxy every 3 s that this instance is there, as vLLM's worker does: a DEALER sends the MessagePack map
/// `{"type": "P" or "D", "http_address", "zmq_address"}`, and gets no answer.
final class ProxyPing implements Closeable {
    private static final Logger LOG = LoggerFactory.getLogger(ProxyPing.class);

    private static final Duration INTERVAL = Duration.ofSeconds(3);
    private static final Duration TIMEOUT = Duration.ofSeconds(1);

    private final Endpoint proxy;
    private final byte[] message;
    private final ZmtpSender sender;
    private final CountDownLatch closing = new CountDownLatch(1);
    private final Thread thread;

    /// Begins.
    ///
    /// @param self this instance's `zmq_address`
    /// @param httpPort of its OpenAI server
    ProxyPing(Endpoint proxy, KvRole role, Endpoint self, String httpPort) {
        this.proxy = proxy;
        Map<String, Object> map = new LinkedHashMap<>();
        map.put("type", role == KvRole.KV_CONSUMER ? "D" : "P");
        map.put("http_address", Endpoint.of(self.host(), httpPort).toString());
        map.put("zmq_address", self.toString());
        this.message = MsgPack.write(map);
        this.sender = new ZmtpSender(
                Zmtp.SocketType.DEALER,
                self.toString().getBytes(StandardCharsets.UTF_8),
                proxy.host(),
                proxy.port(),
                TIMEOUT);
        this.thread = Thread.ofPlatform().daemon().name("baton-kv-ping").start(this::run);
    }

    private void run() {
        boolean heard = true;
        try (sender) {
            do {
                boolean sent = ping();
                if (sent != heard) {
                    LOG.info("the proxy {} is {}", proxy, sent ? "there" : "not there; trying on");
                }
                heard = sent;
            } while (!closing.await(INTERVAL.toMillis(), TimeUnit.MILLISECONDS));
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt(); // nobody else interrupts this thread
        }
    }

    private boolean ping() {
        try {
            sender.send(message);
            return true;
        } catch (IOException e) {
            LOG.debug("the proxy {} does not take a ping: {}", proxy, e.toString());
            return false;
        }
    }

    @Override
    public void close() {
        closing.countDown();
        Threads.awaitEnd(thread);
    }
}
