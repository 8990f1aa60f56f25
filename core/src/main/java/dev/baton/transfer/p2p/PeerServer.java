package dev.baton.transfer.p2p;

import dev.baton.metrics.KvSendEvent;
import dev.baton.tensor.DeviceBlocks;
import dev.baton.tensor.PagedKv;
import dev.baton.transfer.KvLease;
import dev.baton.transfer.KvLeases;
import dev.baton.transfer.Remembered;
import dev.baton.transfer.TransferException;
import dev.baton.transfer.p2p.Arrivals.Tensor;
import dev.baton.transfer.p2p.Offers.Offer;
import dev.baton.transfer.tcp.BlockServer;
import dev.baton.transfer.tcp.Counters;
import dev.baton.wire.Fields;
import dev.baton.wire.MsgPack;
import dev.baton.wire.Zmtp;
import dev.baton.wire.ZmtpServer;
import java.io.Closeable;
import java.io.IOException;
import java.net.ProtocolException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// Where other instances reach this one: a ROUTER that takes what is pushed and gives what is asked for, each
/// peer's on a thread of its own. Thread-safe.
final class PeerServer implements Closeable {
    private static final Logger LOG = LoggerFactory.getLogger(PeerServer.class);

    private static final Duration SILENCE = Duration.ofMinutes(1);
    private static final int MAX_ID_CHARS = 1_024;
    private static final int MAX_FOREIGN = 1_024;

    private final PagedKv pool;
    private final TensorShape shape;
    private final Compatibility compatibility;
    private final P2pOptions options;
    private final KvLeases leases;
    private final Arrivals arrivals;
    private final Offers offers;
    private final Refusals refusals;
    private final Counters counters;
    private final Runnable onDeadline;
    private final @Nullable DeviceBlocks device;
    private final ZmtpServer server;
    private final Set<Zmtp> greeted = ConcurrentHashMap.newKeySet();
    private final Map<Zmtp, DeviceLink> links = new ConcurrentHashMap<>(); // of peers whose tensors go over NCCL
    /// Addresses of peers that speak NCCL; guarded by itself.
    private final Map<String, Boolean> foreign = Remembered.atMost(MAX_FOREIGN);

    /// @param onDeadline told when there is something new that runs out
    /// @param device the way to the pool's device, if it is on one: tensors then travel over NCCL
    /// @throws TransferException if the address cannot be bound
    PeerServer(
            Endpoint address,
            PagedKv pool,
            Compatibility compatibility,
            P2pOptions options,
            KvLeases leases,
            Arrivals arrivals,
            Offers offers,
            Refusals refusals,
            Counters counters,
            Runnable onDeadline,
            @Nullable DeviceBlocks device) {
        this.device = device;
        this.pool = pool;
        this.shape = new TensorShape(pool);
        this.compatibility = compatibility;
        this.options = options;
        this.leases = leases;
        this.arrivals = arrivals;
        this.offers = offers;
        this.refusals = refusals;
        this.counters = counters;
        this.onDeadline = onDeadline;
        try {
            server = ZmtpServer.start(
                    "baton-kv-p2p",
                    Zmtp.SocketType.ROUTER,
                    address.host(),
                    address.port(),
                    new ZmtpServer.Limits(options.maxConnections(), Control.MAX_BYTES, SILENCE),
                    new ZmtpServer.Receiver() {
                        @Override
                        public void received(Zmtp from, List<byte[]> message) throws IOException {
                            PeerServer.this.received(from, message);
                        }

                        @Override
                        public void ended(Zmtp from) {
                            greeted.remove(from);
                            DeviceLink link = links.remove(from);
                            if (link != null) {
                                link.close();
                            }
                        }
                    });
        } catch (IOException e) {
            throw BlockServer.cannotListen(address.host(), address.port(), "kv_ip or kv_port", e);
        }
    }

    int port() {
        return server.port();
    }

    /// Whether that address has greeted as a vLLM does.
    boolean isForeign(Endpoint peer) {
        synchronized (foreign) {
            return foreign.containsKey(peer.toString());
        }
    }

    private void received(Zmtp from, List<byte[]> frames) throws IOException {
        Fields message = MsgPack.map("a control message", Zmtp.single(frames));
        switch (message.text(Control.CMD)) {
            case Control.NEW_TCP -> greeted(from, message);
            case Control.NEW -> connect(from, message);
            case Control.PUT -> put(from, message);
            case Control.GET -> get(from, message);
            case Control.WAIT -> refusals.waitsFor(tensorId(message), from);
            case Control.RELEASE -> release(message);
            default -> throw new ProtocolException("a control message with an unknown cmd");
        }
    }

    private void greeted(Zmtp from, Fields message) throws IOException {
        Map<String, Object> answer = new LinkedHashMap<>();
        answer.put(Control.RET, 0);
        try {
            if (message.number("version", 0, Integer.MAX_VALUE) != Control.VERSION) {
                throw new ProtocolException("it speaks version %d of this protocol, here it is %d"
                        .formatted(message.number("version", 0, Integer.MAX_VALUE), Control.VERSION));
            }
            compatibility.check(message.textMap("fields"), "the other instance");
            greeted.add(from);
        } catch (ProtocolException e) {
            LOG.warn("{} is refused: {}", name(from), e.getMessage());
            answer.put(Control.RET, 1);
            answer.put(Control.REASON, e.getMessage());
        }
        from.send(MsgPack.write(answer));
    }

    private static String name(Zmtp from) {
        return new String(from.peerIdentity(), StandardCharsets.UTF_8).replaceAll("\\p{Cntrl}", "?");
    }

    /// Makes the other end of a communicator of NCCL, for a Baton that has greeted.
    private void connect(Zmtp from, Fields message) throws IOException {
        if (device == null || !greeted.contains(from)) {
            refuseNccl(from);
        } else if (links.containsKey(from)) {
            throw new ProtocolException("a second %s on one connection".formatted(Control.NEW));
        } else {
            links.put(from, DeviceLink.accept(message.bytes(Control.UNIQUE_ID), device, options.peerTimeout()));
        }
    }

    private Optional<DeviceLink> link(Zmtp from) throws ProtocolException {
        DeviceLink link = links.get(from);
        if (device != null && link == null) {
            throw new ProtocolException("a tensor without a %s before it".formatted(Control.NEW));
        }
        return Optional.ofNullable(link);
    }

    private void refuseNccl(Zmtp from) {
        synchronized (foreign) {
            foreign.put(name(from), true);
        }
        LOG.warn("{} is refused: its tensors go over NCCL, as a vLLM's; here they go between Batons", name(from));
    }

    private static String tensorId(Fields message) throws ProtocolException {
        String id = message.text(Control.TENSOR_ID);
        if (id.isEmpty() || id.length() > MAX_ID_CHARS) {
            throw new ProtocolException("a tensor_id of %d characters".formatted(id.length()));
        }
        return id;
    }

    /// Takes what a prefiller pushes.
    private void put(Zmtp from, Fields message) throws IOException {
        String id = tensorId(message);
        Tensor tensor;
        try {
            tensor = reserve(message);
        } catch (ProtocolException e) {
            LOG.warn("a tensor of {} is refused: {}", name(from), e.getMessage());
            arrivals.failed(id, "the prefiller's tensor was refused: " + e.getMessage());
            from.send(Control.REFUSED);
            return;
        }
        int wrong = receive(from, id, tensor, message);
        counters.checksumErrors.add(wrong);
        if (wrong == 0) {
            arrivals.arrived(id, tensor);
            onDeadline.run();
        } else {
            tensor.close();
            if (message.truthOr("is_last", true)) {
                arrivals.failed(id, "%d blocks arrived with a wrong checksum".formatted(wrong));
            }
        }
        from.send(wrong == 0 ? Control.TAKEN : Control.REFUSED);
    }

    /// @return how many blocks are wrong
    private int receive(Zmtp from, String id, Tensor tensor, Fields message) throws IOException {
        boolean whole = false;
        try {
            Optional<DeviceLink> direct = link(from);
            Optional<DeviceBlocks.Buffer> buffer = tensor.buffer();
            from.send(Control.TAKEN);
            int wrong = direct.isPresent() && buffer.isPresent()
                    ? direct.get().receive(buffer.get(), id, message.bytes(Control.SUMS))
                    : PeerConnection.receive(
                            from,
                            id,
                            0,
                            tensor.numBlocks(),
                            i -> tensor.block(i).asByteBuffer(),
                            options.peerTimeout());
            whole = true;
            return wrong;
        } finally {
            if (!whole) {
                tensor.close();
                arrivals.failed(id, "the prefiller's connection ended before all blocks were here");
            }
        }
    }

    private Tensor reserve(Fields message) throws ProtocolException {
        compatibility.check(message);
        int blocks = shape.check(message);
        long most = (long) blocks * shape.blockTokens();
        int tokens = (int) message.number("num_tokens", most - shape.blockTokens() + 1, most);
        return arrivals.reserve(blocks, tokens, message.text("prompt_digest"))
                .orElseThrow(() -> new ProtocolException(
                        "no memory is left for its %d blocks; raise kv_buffer_size or mem_pool_size_gb"
                                .formatted(blocks)));
    }

    /// Gives what a decoder asks for.
    private void get(Zmtp from, Fields message) throws IOException {
        String id = tensorId(message);
        Optional<Offer> offer = offers.find(id);
        Map<String, Object> answer = new LinkedHashMap<>();
        answer.put(Control.RET, 1);
        if (offer.isEmpty()) {
            from.send(MsgPack.write(answer));
            return;
        }
        int held = offer.get().lease().numBlocks();
        int first;
        int count;
        try {
            compatibility.check(message);
            first = (int) message.numberOr("first", 0, held - 1L, 0);
            count = (int) message.numberOr("num_blocks", 1, held - (long) first, held - (long) first);
            if (!message.text("prompt_digest").equals(offer.get().promptDigest())) {
                throw new ProtocolException("the prompts differ");
            }
        } catch (ProtocolException e) {
            answer.put(Control.REASON, e.getMessage());
            from.send(MsgPack.write(answer));
            return;
        }
        Optional<DeviceLink> direct = link(from);
        KvSendEvent event = KvSendEvent.started();
        KvLease lease = offer.get().lease();
        answer.put(Control.RET, 0);
        answer.put("shape", shape.of(count));
        answer.put("dtype", shape.dtype());
        if (direct.isPresent()) {
            answer.put(Control.SUMS, direct.get().sums(id, leases, lease, first, first + count));
            from.send(MsgPack.write(answer));
            direct.get().send(leases, lease, first, first + count);
        } else {
            from.send(MsgPack.write(answer));
            PeerConnection.send(
                    from, id, pool, leases, lease, first, first + count, from::abort, options.peerTimeout());
        }
        long bytes = count * pool.blockBytes();
        counters.bytesSent.add(bytes);
        event.ended(P2pNcclConnector.NAME, lease.requestId(), name(from), count, bytes, KvSendEvent.SENT);
    }

    private void release(Fields message) throws ProtocolException {
        compatibility.check(message);
        offers.find(tensorId(message))
                .ifPresent(offer -> leases.release(offer.lease().handle()));
    }

    @Override
    public void close() {
        links.values().forEach(DeviceLink::abort);
        server.close();
    }
}
