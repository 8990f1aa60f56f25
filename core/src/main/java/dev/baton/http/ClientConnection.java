package dev.baton.http;

import io.netty.buffer.ByteBuf;
import io.netty.buffer.ByteBufUtil;
import io.netty.buffer.Unpooled;
import io.netty.channel.Channel;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.handler.codec.ByteToMessageDecoder;
import io.vertx.core.Vertx;
import io.vertx.core.internal.ContextInternal;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// One connection to a server: carries one call at a time, and waits in its [ConnectionPool] between two.
///
/// A request leaves in one write, and of a response each read is passed on at once. The deadline is the
/// connection's, so that a call sets no timer. Belongs to one event loop.
final class ClientConnection extends ChannelInboundHandlerAdapter implements ResponseReader.Sink {
    private static final Logger LOG = LoggerFactory.getLogger(ClientConnection.class);

    /// Longer bodies are not copied behind their head.
    private static final int MAX_COPIED_BYTES = 64 << 10;

    /// Whose response is read.
    interface User {
        void head(int status, HttpHeaders headers);

        void content(byte[] bytes);

        void end();

        /// Nothing more comes.
        void broke(Throwable cause, boolean connecting);

        void late();
    }

    private static final class ClosedException extends RuntimeException {
        private ClosedException(String message) {
            super(message);
        }
    }

    private final ConnectionPool pool;
    private final ContextInternal context;
    private final Deadline deadline;
    private final ResponseReader reader = new ResponseReader(this);
    private @Nullable Channel channel;
    private @Nullable User user;
    private @Nullable ByteBuf unread;
    private long idleNanos;
    private boolean connected;
    private boolean ended;
    private boolean inputClosed;

    ClientConnection(ConnectionPool pool, Vertx vertx, ContextInternal context) {
        this.pool = pool;
        this.context = context;
        this.deadline = new Deadline(vertx, this::late);
    }

    ConnectionPool pool() {
        return pool;
    }

    /// Someone has it for a call.
    void takenBy(User caller) {
        user = caller;
    }

    Deadline deadline() {
        return deadline;
    }

    /// Whether it can be written to.
    boolean isConnected() {
        return connected;
    }

    /// When its last call ended, by [System#nanoTime()].
    long idleNanos() {
        return idleNanos;
    }

    void connected(Channel ready) {
        channel = ready;
        connected = true;
    }

    /// Its connection could not be made.
    void failed(Throwable cause) {
        broke(cause);
    }

    /* Towards the server. */

    private Channel channel() {
        Channel made = channel;
        if (made == null) {
            throw new IllegalStateException("not connected");
        }
        return made;
    }

    /// Sends a request.
    void send(HttpClientRequest request) {
        Channel to = channel();
        reader.expect(request.method().equals("HEAD"));
        byte[] body = request.body();
        boolean copied = body.length <= MAX_COPIED_BYTES;
        ByteBuf bytes = to.alloc().ioBuffer(512 + (copied ? body.length : 0));
        try {
            writeHead(bytes, request);
        } catch (RuntimeException e) {
            bytes.release();
            throw e;
        }
        if (copied) {
            bytes.writeBytes(body);
        } else {
            to.write(bytes, to.voidPromise());
            bytes = Unpooled.wrappedBuffer(body);
        }
        to.writeAndFlush(bytes, to.voidPromise());
    }

    private static void writeHead(ByteBuf out, HttpClientRequest request) {
        URI target = request.target();
        String path = target.getRawPath();
        String query = target.getRawQuery();
        token(out, request.method());
        out.writeByte(' ');
        text(out, path == null || path.isEmpty() ? "/" : path);
        if (query != null) {
            out.writeByte('?');
            text(out, query);
        }
        ascii(out, " HTTP/1.1\r\nhost: ");
        text(out, target.getHost());
        boolean secure = "https".equals(target.getScheme());
        int port = target.getPort();
        if (port >= 0 && port != (secure ? 443 : 80)) {
            out.writeByte(':');
            ascii(out, Integer.toString(port));
        }
        for (HttpHeaders.Field field : request.headers().fields()) {
            ascii(out, "\r\n");
            token(out, field.name());
            ascii(out, ": ");
            text(out, field.value());
        }
        if (request.body().length > 0 || request.method().equals("POST")) {
            ascii(out, "\r\ncontent-length: ");
            ascii(out, Integer.toString(request.body().length));
        }
        ascii(out, "\r\n\r\n");
    }

    private static void ascii(ByteBuf out, String text) {
        ByteBufUtil.writeAscii(out, text);
    }

    private static void token(ByteBuf out, String text) {
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            if (c <= ' ' || c >= 0x7f || c == ':') {
                throw new IllegalArgumentException("not the name of a method or a header field: " + text);
            }
        }
        ascii(out, text);
    }

    /// No line may end in it, or the rest would be a header field.
    private static void text(ByteBuf out, String text) {
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            if ((c < ' ' && c != '\t') || c == 0x7f) {
                throw new IllegalArgumentException("a control character in a header field or a target");
            }
        }
        out.writeCharSequence(text, StandardCharsets.UTF_8);
    }

    void pause() {
        reader.pause();
        if (channel != null && reader.isInContent()) { // the head is wanted in any case
            channel.config().setAutoRead(false);
        }
    }

    void resume() {
        reader.resume();
        readOn();
        if (channel != null) {
            channel.config().setAutoRead(true);
        }
    }

    /// Ends the connection, and tells nobody.
    void close() {
        user = null;
        finish();
    }

    private void finish() {
        reader.stop();
        deadline.close();
        if (!ended) {
            ended = true;
            pool.ended(this);
        }
        if (channel != null) {
            channel.close();
        }
        drop();
    }

    private void drop() {
        if (unread != null) {
            unread.release();
            unread = null;
        }
    }

    boolean isEnded() {
        return ended;
    }

    /* From the server. */

    @Override
    public void channelRead(ChannelHandlerContext in, Object message) {
        ContextInternal before = context.beginDispatch();
        try {
            ByteBuf bytes = (ByteBuf) message;
            ByteBuf held = unread;
            unread = held == null ? bytes : ByteToMessageDecoder.MERGE_CUMULATOR.cumulate(in.alloc(), held, bytes);
            readOn();
        } finally {
            context.endDispatch(before);
        }
    }

    private void readOn() {
        ByteBuf bytes = unread;
        if (bytes == null) {
            endIfClosed();
            return;
        }
        unread = null; // whoever ends the connection meanwhile must not release what is being read
        try {
            reader.read(bytes);
        } catch (ResponseReader.MalformedException e) {
            broke(e);
        }
        boolean unsolicited = !ended && reader.isIdle() && bytes.isReadable();
        if (ended || !bytes.isReadable() || unsolicited) {
            bytes.release();
        } else {
            unread = bytes;
        }
        if (unsolicited) {
            close();
        }
        endIfClosed();
    }

    private void endIfClosed() {
        if (inputClosed && unread == null && !ended && !reader.closed()) {
            broke(new ClosedException("Connection was closed"));
        }
    }

    @Override
    public void channelInactive(ChannelHandlerContext in) {
        ContextInternal before = context.beginDispatch();
        try {
            inputClosed = true;
            readOn();
        } finally {
            context.endDispatch(before);
        }
    }

    @Override
    public void exceptionCaught(ChannelHandlerContext in, Throwable cause) {
        ContextInternal before = context.beginDispatch();
        try {
            LOG.debug("a connection broke: {}", cause.toString());
            broke(cause);
        } finally {
            context.endDispatch(before);
        }
    }

    private void broke(Throwable cause) {
        User caller = user;
        boolean connecting = !connected;
        close();
        if (caller != null) {
            caller.broke(cause, connecting);
        }
    }

    private void late() {
        User caller = user;
        if (caller != null) {
            caller.late();
        }
    }

    @Override
    public void head(int status, HttpHeaders headers) {
        User caller = user;
        if (caller != null) {
            guarded(() -> caller.head(status, headers));
        }
        if (reader.isPaused() && channel != null) {
            channel.config().setAutoRead(false);
        }
    }

    @Override
    public void content(byte[] bytes) {
        User caller = user;
        if (caller != null) {
            guarded(() -> caller.content(bytes));
        }
    }

    /// It is free before its caller hears of the end, who may need one like it at once.
    @Override
    public void end() {
        User caller = user;
        user = null;
        if (!reader.keepsConnection() || inputClosed) {
            finish();
        } else {
            deadline.suspend();
            if (reader.isPaused()) { // its caller did not come to say that it reads on
                reader.resume();
                channel().config().setAutoRead(true);
            }
            idleNanos = System.nanoTime();
            pool.free(this);
        }
        if (caller != null) {
            guarded(caller::end);
        }
    }

    private static void guarded(Runnable callback) {
        try {
            callback.run();
        } catch (RuntimeException | Error e) {
            LOG.error("the listener of a call failed", e);
        }
    }
}
