package dev.baton.transfer.lmcache;

import dev.baton.transfer.KvTransferParams;
import dev.baton.transfer.nixl.NixlAgent;
import dev.baton.wire.Zmtp;
import dev.baton.wire.ZmtpRequests;
import dev.baton.wire.ZmtpSender;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.net.ProtocolException;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.UUID;

/// A prefiller's side of LMCache's prefill and decode: writes chunks into the pages of the decoder that a request
/// names, and tells the proxy when all of them are there. Used by the saver's thread alone, but for [#disconnect].
final class PdSender implements AutoCloseable {
    private static final int MAX_ANSWER_BYTES = 64 << 20;
    private static final Duration CONNECT_TIMEOUT = Duration.ofSeconds(2);
    /// Decoders unpickle it and look the class up; LMCache 0.5 comes with this NIXL.
    private static final String MODULE = "nixl_cu13._bindings";

    private final Duration timeout;
    private final String dtype;
    private final Arena arena = Arena.ofShared();
    private final MemorySegment chunk;
    private final PdAgent agent;
    private final ZmtpRequests requests = new ZmtpRequests();
    private final Optional<ZmtpSender> proxy;
    private final Map<String, Receiver> receivers = new HashMap<>(); // by host and init port

    /// The decoder that a request names: LMCache's `disagg_spec`.
    record Spec(String requestId, String host, int initPort, int allocPort) {
        /// The decoder of a request; empty if it names none, or not as it should be.
        static Optional<Spec> of(KvTransferParams params) {
            if (!(params.fields().get("disagg_spec") instanceof Map<?, ?> spec)
                    || !(spec.get("req_id") instanceof String id)
                    || !(spec.get("receiver_host") instanceof String host)) {
                return Optional.empty();
            }
            int init = port(spec, "receiver_init_port");
            int alloc = port(spec, "receiver_alloc_port");
            return init == 0 || alloc == 0 ? Optional.empty() : Optional.of(new Spec(id, host, init, alloc));
        }

        /// A port, or the first of a list.
        private static int port(Map<?, ?> spec, String key) {
            Object value = spec.get(key);
            if (value instanceof List<?> list && !list.isEmpty()) {
                value = list.getFirst();
            }
            return value instanceof Number number && number.intValue() > 0 && number.intValue() <= 65_535
                    ? number.intValue()
                    : 0;
        }
    }

    /// A decoder whose memory is known.
    private record Receiver(String agentName, PageList pages, boolean isBaton) {}

    /// @param chunkBytes of a full chunk
    /// @param dtype LMCache's name of the element type
    /// @param timeout bound of each wait
    PdSender(PdOptions options, Map<String, String> environment, long chunkBytes, String dtype, Duration timeout) {
        this.timeout = timeout;
        this.dtype = dtype;
        this.chunk = arena.allocate(chunkBytes, 4096);
        try {
            this.agent = new PdAgent(
                    options.nixlHome(), environment, UUID.randomUUID().toString(), chunk);
        } catch (RuntimeException e) {
            arena.close();
            throw e;
        }
        this.proxy = options.proxyHost()
                .map(host -> new ZmtpSender(Zmtp.SocketType.PUSH, new byte[0], host, options.proxyPort(), timeout));
    }

    /// Brings a chunk to a decoder.
    ///
    /// @throws ChunkRefusedException if the decoder does not take it
    /// @throws IOException if it is not there for sure
    void send(Spec to, String key, ChunkHead head, MemorySegment bytes) throws IOException {
        String id = to.host() + to.initPort();
        try {
            Receiver receiver = receivers.get(id);
            if (receiver == null) {
                receiver = meet(to);
                receivers.put(id, receiver);
            }
            write(to, receiver, key, head, bytes);
        } catch (ChunkRefusedException e) {
            throw e; // the receiver is well
        } catch (IOException | RuntimeException e) {
            Receiver lost = receivers.remove(id); // it may be another one next time
            if (lost != null) {
                forget(lost);
            }
            throw e instanceof IOException io ? io : new IOException(e.getMessage(), e);
        }
    }

    private void forget(Receiver receiver) throws IOException {
        boolean _ = agent.call(
                it -> {
                    it.forget(receiver.agentName());
                    return true;
                },
                timeout);
    }

    private Receiver meet(Spec to) throws IOException {
        PdMessage.NixlInitRequest hello = new PdMessage.NixlInitRequest(agent.call(it -> it.metadata(), timeout));
        if (!(ask(to.host(), to.initPort(), hello) instanceof PdMessage.NixlInitResponse answer)) {
            throw new ProtocolException(
                    "%s:%d answers something else than its agent".formatted(to.host(), to.initPort()));
        }
        String name = agent.call(it -> it.load(answer.remoteMetadata()), timeout);
        PageList mine = PageList.of(MODULE, NixlAgent.DRAM, chunk.address(), chunk.byteSize(), 1);
        PdMessage.NixlMemRegRequest register =
                new PdMessage.NixlMemRegRequest(answer.remoteAgentName(), "", mine.bytes());
        if (!(ask(to.host(), to.initPort(), register) instanceof PdMessage.NixlMemRegResponse pages)) {
            throw new ProtocolException(
                    "%s:%d answers something else than its pages".formatted(to.host(), to.initPort()));
        }
        return new Receiver(name, PageList.read(pages.remotePages()), answer.isBaton());
    }

    private PdMessage ask(String host, int port, PdMessage question) throws IOException {
        return PdMessage.read(requests.ask(host, port, question.bytes(), MAX_ANSWER_BYTES, CONNECT_TIMEOUT, timeout)
                .getLast());
    }

    private void write(Spec to, Receiver receiver, String key, ChunkHead head, MemorySegment bytes) throws IOException {
        PdMessage.AllocRequest request = new PdMessage.AllocRequest(
                List.of(key),
                head.format(),
                new long[] {head.shape0(), head.shape1(), head.shape2(), head.shape3()},
                dtype,
                head.shape2(),
                new long[] {Integer.toUnsignedLong(ChunkChecksum.of(key, head, bytes))});
        if (!(ask(to.host(), to.allocPort(), request) instanceof PdMessage.AllocResponse answer)) {
            throw new ProtocolException("%s:%d answers something else than pages".formatted(to.host(), to.allocPort()));
        }
        if (!answer.alreadySent().isEmpty()) {
            return;
        }
        if (answer.remotePages().size() != 1
                || answer.remotePages().getFirst() < 0
                || answer.remotePages().getFirst() >= receiver.pages().size()) {
            throw new ChunkRefusedException("decoder %s:%d has no page free, or cannot use such chunks, as its log says"
                    .formatted(to.host(), to.allocPort()));
        }
        int page = answer.remotePages().getFirst().intValue();
        long length = head.lengthBytes();
        if (receiver.pages().length(page) < length) {
            throw new IOException("decoder %s:%d has pages of %d bytes, the chunk has %d; set the same chunk_size"
                    .formatted(to.host(), to.initPort(), receiver.pages().length(page), length));
        }
        MemorySegment.copy(bytes, 0, chunk, 0, length);
        boolean _ = agent.call(
                it -> {
                    PdAgent.finish(
                            it.write(
                                    receiver.agentName(),
                                    receiver.pages().memory(),
                                    receiver.pages().device(page),
                                    chunk.address(),
                                    receiver.pages().address(page),
                                    length),
                            timeout);
                    return true;
                },
                timeout.multipliedBy(2));
    }

    /// Tells a decoder that nobody will come for chunks that it was given. LMCache's keep them.
    ///
    /// @throws IOException if it is not there
    void cancel(Spec to, List<String> keys) throws IOException {
        Receiver receiver = receivers.get(to.host() + to.initPort());
        if (receiver != null && receiver.isBaton() && !keys.isEmpty()) {
            PdMessage _ = ask(to.host(), to.allocPort(), new PdMessage.CancelNotif(to.requestId(), keys));
        }
    }

    /// Tells the proxy that no more chunks of a request will come: all are there, or the decoder takes none.
    ///
    /// @throws IOException if it does not take that
    void announce(Spec to) throws IOException {
        if (proxy.isPresent()) {
            proxy.get().send(new PdMessage.ProxyNotif(to.requestId()).bytes());
        }
    }

    /// Makes what waits for a decoder fail; from any thread.
    void disconnect() {
        requests.close();
    }

    /// After the saver's thread has ended.
    @Override
    public void close() {
        proxy.ifPresent(ZmtpSender::close);
        agent.close();
        arena.close();
    }
}
