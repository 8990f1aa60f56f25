package dev.baton.transfer.nixl;

import dev.baton.tensor.PagedKv;
import dev.baton.transfer.KvLease;
import dev.baton.transfer.KvLeases;
import dev.baton.transfer.TransferException;
import dev.baton.transfer.tcp.Threads;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.ProtocolException;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicBoolean;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.zeromq.SocketType;
import org.zeromq.ZContext;
import org.zeromq.ZMQ;
import org.zeromq.ZMQException;

/// Where decoders ask for this instance's metadata, as vLLM's NIXL connector has it: a ZeroMQ ROUTER that answers
/// the MessagePack list `[b"get_meta_msg", pp rank, tp rank]` with the handshake payload and the sender's clock.
///
/// A Baton also asks `[b"get_block_sums", lease, first, count]` and gets a checksum of 4 bytes for each of these
/// blocks of the request, or nothing if the lease has ended.
///
/// One thread, `baton-nixl-side-channel`, owns the socket. Thread-safe.
final class SideChannel implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(SideChannel.class);

    private static final byte[] GET_METADATA = "get_meta_msg".getBytes(StandardCharsets.US_ASCII);
    private static final byte[] GET_SUMS = "get_block_sums".getBytes(StandardCharsets.US_ASCII);
    private static final int MAX_REQUEST_BYTES = 4_096;
    private static final int MAX_ANSWER_BYTES = 16 << 20;
    private static final int TURN_MILLIS = 100;
    private static final int CONNECT_MILLIS = 1_000;
    private static final long NANOS_PER_SECOND = 1_000_000_000;

    private final byte[] payload;
    private final PagedKv pool;
    private final KvLeases leases;
    private final ZContext context = new ZContext(1);
    private final Thread thread;
    private final int port;
    private volatile boolean closed;

    /// Begins to listen.
    ///
    /// @param port 0 for any free one
    /// @param payload the answer, `NixlHandshakePayload`
    /// @throws TransferException if the port cannot be bound
    SideChannel(String host, int port, byte[] payload, PagedKv pool, KvLeases leases) {
        this.payload = payload;
        this.pool = pool;
        this.leases = leases;
        context.setLinger(0);
        ZMQ.Socket socket = context.createSocket(SocketType.ROUTER);
        socket.setMaxMsgSize(MAX_REQUEST_BYTES);
        socket.setReceiveTimeOut(TURN_MILLIS);
        socket.setIPv6(host.contains(":"));
        String address = "tcp://" + inUrl(host);
        try {
            if (port == 0) {
                this.port = socket.bindToRandomPort(address);
            } else {
                socket.bind(address + ":" + port);
                this.port = port;
            }
        } catch (ZMQException | IllegalArgumentException e) {
            context.close();
            throw new TransferException(
                    "%s: the side channel cannot listen on %s:%d: %s; set kv_ip and kv_port"
                            .formatted(NixlConnector.NAME, host, port, e.getMessage()),
                    e);
        }
        thread = Thread.ofPlatform().daemon().name("baton-nixl-side-channel").start(() -> answer(socket));
    }

    int port() {
        return port;
    }

    private void answer(ZMQ.Socket socket) {
        try {
            while (!closed) {
                byte[] identity = socket.recv();
                if (identity != null) {
                    request(socket, identity);
                }
            }
        } catch (ZMQException e) {
            if (!closed) {
                LOG.error("the NIXL side channel has ended: no decoder can begin to read here", e);
            }
        } finally {
            socket.close();
        }
    }

    private void request(ZMQ.Socket socket, byte[] identity) {
        byte[] last = identity;
        while (socket.hasReceiveMore()) {
            byte[] next = socket.recv();
            last = next == null ? last : next;
        }
        List<byte[]> answer;
        try {
            answer = answer(last);
        } catch (ProtocolException | RuntimeException e) {
            LOG.warn("a request to the NIXL side channel is not answered: {}", e.getMessage());
            return;
        }
        socket.sendMore(identity);
        socket.sendMore(new byte[0]);
        for (int i = 0; i < answer.size(); i++) {
            if (i < answer.size() - 1) {
                socket.sendMore(answer.get(i));
            } else {
                socket.send(answer.get(i));
            }
        }
    }

    private List<byte[]> answer(byte[] message) throws ProtocolException {
        if (!(MsgPack.read(message) instanceof List<?> request)
                || request.isEmpty()
                || !(request.getFirst() instanceof byte[] what)) {
            throw new ProtocolException("it is no list that begins with a command");
        }
        if (Arrays.equals(what, GET_METADATA)) {
            for (Object rank : request.subList(1, request.size())) {
                if (!rank.equals(0L)) {
                    throw new ProtocolException("it asks for rank " + rank + "; there is rank 0 alone");
                }
            }
            byte[] clock = MsgPack.write(System.nanoTime() / (double) NANOS_PER_SECOND);
            // Before clocks were exchanged, there was one rank in the question and one frame in the answer.
            return request.size() > 2 ? List.of(payload, clock) : List.of(payload);
        }
        if (Arrays.equals(what, GET_SUMS)
                && request.size() == 4
                && request.get(1) instanceof String handle
                && request.get(2) instanceof Long first
                && request.get(3) instanceof Long count) {
            return List.of(sums(handle, first, count));
        }
        throw new ProtocolException("it is neither get_meta_msg nor get_block_sums");
    }

    /// @return empty if the lease has ended, or has no such blocks
    private byte[] sums(String handle, long first, long count) {
        Optional<KvLease> lease = leases.find(handle);
        if (lease.isEmpty()
                || first < 0
                || count < 1
                || first + count > lease.get().numBlocks()) {
            return new byte[0];
        }
        BlockSum sum = new BlockSum(handle);
        ByteBuffer sums = ByteBuffer.allocate((int) count * Integer.BYTES);
        for (int i = (int) first; i < first + count; i++) {
            AtomicBoolean fenced = new AtomicBoolean();
            Runnable fence = () -> fenced.set(true);
            if (!leases.beginRead(lease.get(), fence)) {
                return new byte[0];
            }
            try {
                sums.putInt(sum.of(i, pool.block(lease.get().blockId(i))));
            } finally {
                lease.get().endRead(fence);
            }
        }
        return sums.array();
    }

    @Override
    public void close() {
        closed = true;
        Threads.awaitEnd(thread);
        context.close();
    }

    /// Asks a peer for its metadata.
    ///
    /// @return its handshake payload
    /// @throws ProtocolException if it does not answer in time, or not with that
    static byte[] askMetadata(ZContext context, PeerAddress peer, Duration timeout) throws ProtocolException {
        List<Object> question = List.of(GET_METADATA, 0, 0);
        return ask(context, peer, MsgPack.write(question), timeout);
    }

    /// Asks a Baton for the checksums of some blocks of a lease.
    ///
    /// @return empty if the lease has ended
    static int[] askSums(ZContext context, PeerAddress peer, String lease, int first, int count, Duration timeout)
            throws ProtocolException {
        List<Object> question = List.of(GET_SUMS, lease, first, count);
        ByteBuffer answer = ByteBuffer.wrap(ask(context, peer, MsgPack.write(question), timeout));
        if (answer.remaining() != 0 && answer.remaining() != count * Integer.BYTES) {
            throw new ProtocolException(
                    "%s sent %d bytes of checksums for %d blocks".formatted(peer, answer.remaining(), count));
        }
        int[] sums = new int[answer.remaining() / Integer.BYTES];
        answer.asIntBuffer().get(sums);
        return sums;
    }

    private static byte[] ask(ZContext context, PeerAddress peer, byte[] question, Duration timeout)
            throws ProtocolException {
        reach(peer);
        ZMQ.Socket socket;
        try {
            socket = context.createSocket(SocketType.REQ);
        } catch (ZMQException | IllegalStateException e) {
            throw new ProtocolException("%s cannot be asked: %s".formatted(peer, e.getMessage()));
        }
        try {
            socket.setLinger(0);
            socket.setMaxMsgSize(MAX_ANSWER_BYTES);
            socket.setReceiveTimeOut((int) timeout.toMillis());
            socket.setSendTimeOut((int) timeout.toMillis());
            socket.setIPv6(peer.host().contains(":"));
            socket.connect("tcp://" + inUrl(peer.host()) + ":" + peer.port());
            byte[] answer = socket.send(question) ? socket.recv() : null;
            if (answer == null) {
                throw new ProtocolException("%s did not answer on its side channel within %s".formatted(peer, timeout));
            }
            while (socket.hasReceiveMore()) {
                socket.recv();
            }
            return answer;
        } catch (ZMQException | IllegalArgumentException | UnsupportedOperationException e) {
            throw new ProtocolException("%s cannot be asked: %s".formatted(peer, e.getMessage()));
        } finally {
            socket.close();
        }
    }

    /// ZeroMQ would try to connect until the answer is overdue; a closed port is known at once.
    private static void reach(PeerAddress peer) throws ProtocolException {
        try (Socket socket = new Socket()) {
            socket.connect(new InetSocketAddress(peer.host(), peer.port()), CONNECT_MILLIS);
        } catch (IOException e) {
            throw new ProtocolException("%s cannot be reached: %s".formatted(peer, e.getMessage()));
        }
    }

    private static String inUrl(String host) {
        return host.contains(":") ? "[" + host + "]" : host;
    }
}
