package dev.baton.http;

import io.netty.buffer.ByteBufUtil;
import io.netty.buffer.Unpooled;
import io.netty.channel.Channel;
import io.netty.channel.ChannelFuture;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.handler.codec.http.DefaultFullHttpRequest;
import io.netty.handler.codec.http.FullHttpRequest;
import io.netty.handler.codec.http.HttpContent;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpMethod;
import io.netty.handler.codec.http.HttpObject;
import io.netty.handler.codec.http.HttpResponse;
import io.netty.handler.codec.http.HttpUtil;
import io.netty.handler.codec.http.HttpVersion;
import io.netty.handler.codec.http.LastHttpContent;
import io.netty.util.ReferenceCountUtil;
import io.vertx.core.Vertx;
import io.vertx.core.internal.ContextInternal;
import java.net.URI;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// One connection to a server: carries one call at a time, and waits in its [ConnectionPool] between two.
///
/// A request leaves in one write, and of a response each read is passed on at once. The deadline is the
/// connection's, so that a call sets no timer. Belongs to one event loop.
final class ClientConnection extends ChannelInboundHandlerAdapter {
    private static final Logger LOG = LoggerFactory.getLogger(ClientConnection.class);

    /// What of a response is awaited.
    private enum Stage {
        NOTHING,
        HEAD,
        CONTENT
    }

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
    private final ArrayDeque<HttpObject> held = new ArrayDeque<>(0); // content, while nobody wants it
    private @Nullable Channel channel;
    private @Nullable User user;
    private Stage stage = Stage.NOTHING;
    private boolean paused;
    private boolean isInterim; // what is read announces the response that is awaited
    private boolean isReusable;
    private long idleNanos;
    private boolean connected;
    private boolean ended;
    private boolean inputClosed;

    ClientConnection(ConnectionPool pool, Vertx vertx, ContextInternal context) {
        this.pool = pool;
        this.context = context;
        this.deadline = new Deadline(vertx, this::late);
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

    /// There is a channel, which may have to shake hands yet; nobody may want it any more.
    void has(Channel made) {
        channel = made;
        if (ended) {
            ChannelFuture ignored = made.close();
        }
    }

    /// It can be written to from now on.
    void connected() {
        connected = true;
    }

    /// Whether a call can have it: its server may have closed it, or close it in this moment.
    ///
    /// @param sinceNanos when it must have been used last, at least
    boolean isUsable(long sinceNanos) {
        return !ended && channel().isActive() && idleNanos - sinceNanos > 0;
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

    /// Sends a request: head and body in one write.
    ///
    /// @throws IllegalArgumentException if it has a header field that cannot be sent
    void send(HttpClientRequest request) {
        URI target = request.target();
        String path = target.getRawPath() == null || target.getRawPath().isEmpty() ? "/" : target.getRawPath();
        String query = target.getRawQuery();
        byte[] body = request.body();
        FullHttpRequest message = new DefaultFullHttpRequest(
                HttpVersion.HTTP_1_1,
                HttpMethod.valueOf(request.method()),
                query == null ? path : path + "?" + query,
                body.length == 0 ? Unpooled.EMPTY_BUFFER : Unpooled.wrappedBuffer(body));
        message.headers().set(HttpHeaderNames.HOST, pool.authority());
        for (HttpHeaders.Field field : request.headers().fields()) {
            message.headers().add(field.name(), field.value());
        }
        if (body.length > 0 || request.method().equals("POST")) {
            message.headers().set(HttpHeaderNames.CONTENT_LENGTH, Integer.toString(body.length));
        }
        stage = Stage.HEAD;
        Channel to = channel();
        ChannelFuture ignored = to.writeAndFlush(message, to.voidPromise()); // a failure comes as an exception
    }

    /// Passes no content on until [#resume()].
    void pause() {
        paused = true;
        if (stage == Stage.CONTENT) { // the head is wanted in any case
            channel().config().setAutoRead(false);
        }
    }

    void resume() {
        paused = false;
        while (!paused && !held.isEmpty()) {
            take(held.poll());
        }
        if (!paused && !ended) {
            endIfClosed();
            channel().config().setAutoRead(true);
        }
    }

    /// Ends the connection, and tells nobody.
    void close() {
        user = null;
        finish();
    }

    private void finish() {
        stage = Stage.NOTHING;
        deadline.close();
        if (!ended) {
            ended = true;
            pool.ended(this);
        }
        if (channel != null) {
            ChannelFuture ignored = channel.close();
        }
        for (HttpObject message = held.poll(); message != null; message = held.poll()) {
            ReferenceCountUtil.release(message);
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
            if (paused && !ended && message instanceof HttpContent content && !isInterim) {
                held.add(content);
            } else if (message instanceof HttpObject part) {
                take(part);
            } else { // bytes behind a change of protocols
                ReferenceCountUtil.release(message);
            }
        } finally {
            context.endDispatch(before);
        }
    }

    private void take(HttpObject message) {
        try {
            if (ended) {
                return;
            }
            if (message.decoderResult().isFailure()) {
                broke(message.decoderResult().cause());
                return;
            }
            if (message instanceof HttpResponse response) {
                head(response);
            }
            if (message instanceof HttpContent content) {
                content(content);
            }
        } finally {
            ReferenceCountUtil.release(message);
        }
    }

    private void head(HttpResponse response) {
        int status = response.status().code();
        isInterim = status < 200;
        if (stage != Stage.HEAD || status == 101) { // nobody asked for it
            broke(new ClosedException("the server sent what nobody asked for"));
            return;
        }
        if (isInterim) {
            return;
        }
        stage = Stage.CONTENT;
        isReusable = HttpUtil.isKeepAlive(response);
        if (paused) {
            channel().config().setAutoRead(false);
        }
        List<HttpHeaders.Field> fields = new ArrayList<>(response.headers().size());
        for (Map.Entry<String, String> entry : response.headers()) {
            fields.add(new HttpHeaders.Field(entry.getKey(), entry.getValue()));
        }
        User caller = user;
        if (caller != null) {
            guarded(() -> caller.head(status, HttpHeaders.of(fields)));
        }
    }

    private void content(HttpContent content) {
        User caller = user;
        if (!isInterim && caller != null && content.content().isReadable()) {
            byte[] bytes = ByteBufUtil.getBytes(content.content());
            guarded(() -> caller.content(bytes));
        }
        if (content instanceof LastHttpContent && !ended) {
            if (isInterim) {
                isInterim = false;
            } else if (paused) { // by who got its last bytes
                held.add(LastHttpContent.EMPTY_LAST_CONTENT);
            } else {
                end();
            }
        }
    }

    /// It is free before its caller hears of the end, who may need one like it at once.
    private void end() {
        User caller = user;
        user = null;
        stage = Stage.NOTHING;
        if (!isReusable || !channel().isActive() || !isSent()) {
            finish();
        } else {
            deadline.suspend();
            idleNanos = System.nanoTime();
            pool.free(this);
        }
        if (caller != null) {
            guarded(caller::end);
        }
    }

    /// Whether nothing of the request is left to send. A server may answer before it has read all of a body, and
    /// never read the rest: what was sent behind that would not arrive.
    private boolean isSent() {
        // Each write that waits counts for some 100 bytes more than it has.
        return channel().bytesBeforeUnwritable() >= channel().config().getWriteBufferHighWaterMark();
    }

    private void endIfClosed() {
        if (inputClosed && held.isEmpty() && !ended) {
            broke(new ClosedException("Connection was closed"));
        }
    }

    @Override
    public void channelInactive(ChannelHandlerContext in) {
        ContextInternal before = context.beginDispatch();
        try {
            inputClosed = true;
            endIfClosed();
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

    static void guarded(Runnable callback) {
        try {
            callback.run();
        } catch (RuntimeException | Error e) {
            LOG.error("the listener of a call failed", e);
        }
    }
}
