package dev.baton.transfer.nixl;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_BOOLEAN;
import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.baton.transfer.TransferException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/// One NIXL agent with UCX as its backend: memory that others may read, agents that this one may read from, and
/// notifications to and from them.
///
/// Owned by the thread that created it: every method, [#close] too, is to be called by that thread, because NIXL's
/// agents are not thread-safe. Memory that was registered must outlive the agent.
public final class NixlAgent implements AutoCloseable {
    /// Main memory, in NIXL's numbering.
    public static final int DRAM = 0;
    /// Memory of a GPU.
    public static final int VRAM = 1;

    private static final int READ = 0;
    private static final int WRITE = 1;
    private static final int MAX_NAME_BYTES = 4_096;

    private static final long CONFIGURATION_BYTES = 40;
    private static final long PROGRESS_THREAD = 0; // its place in the configuration
    private static final long PROGRESS_DELAY = 16; // its place in the configuration
    private static final long PROGRESS_DELAY_MICROS = 1_000;

    /// Where a transfer stands.
    public enum Status {
        IN_PROGRESS,
        DONE,
        FAILED
    }

    /// A message from another agent.
    public record Notification(String agent, byte[] message) {}

    private final NixlLibrary nixl;
    private final Arena arena = Arena.ofConfined();
    private final MemorySegment out = arena.allocate(ADDRESS);
    private final MemorySegment size = arena.allocate(JAVA_LONG);
    private final List<MemorySegment> registered = new ArrayList<>();
    private final MemorySegment agent;
    private final MemorySegment backend;
    private final MemorySegment options;
    private final MemorySegment notifications;

    /// Starts an agent with the library that is found; see [NixlHome#find].
    ///
    /// @param home where NIXL is, if that was given
    /// @param environment like [System#getenv()]
    /// @param name unique among the agents that meet
    /// @throws TransferException if there is no library, or NIXL cannot start with UCX
    public static NixlAgent start(Optional<Path> home, Map<String, String> environment, String name) {
        return new NixlAgent(NixlLibrary.load(NixlHome.find(home, environment)), name);
    }

    /// @param name unique among the agents that meet
    /// @throws TransferException if NIXL cannot start with UCX
    NixlAgent(NixlLibrary nixl, String name) {
        this.nixl = nixl;
        try {
            check("create_configured_agent", (int)
                    nixl.createAgent.invokeExact(arena.allocateFrom(name), configuration(), out));
            agent = out.get(ADDRESS, 0);
            check("create_params", (int) nixl.createParams.invokeExact(out));
            MemorySegment params = out.get(ADDRESS, 0);
            check("create_backend of UCX", (int)
                    nixl.createBackend.invokeExact(agent, arena.allocateFrom("UCX"), params, out));
            backend = out.get(ADDRESS, 0);
            check("destroy_params", (int) nixl.destroyParams.invokeExact(params));
            check("create_opt_args", (int) nixl.createOptArgs.invokeExact(out));
            options = out.get(ADDRESS, 0);
            check("opt_args_add_backend", (int) nixl.addBackend.invokeExact(options, backend));
            check("create_notif_map", (int) nixl.createNotifications.invokeExact(out));
            notifications = out.get(ADDRESS, 0);
        } catch (Throwable t) {
            throw NixlLibrary.failed("starting an agent", t);
        }
    }

    /// `nixl_capi_agent_config_t`: with a thread that makes progress, without one that listens. That thread waits
    /// for UCX's events, but NIXL's default is to wait for no time at all, which takes a whole core from the
    /// engine. It looks once in a while by itself, as UCX is known to miss events.
    private MemorySegment configuration() {
        MemorySegment configuration = arena.allocate(CONFIGURATION_BYTES, Long.BYTES);
        configuration.set(JAVA_BOOLEAN, PROGRESS_THREAD, true);
        configuration.set(JAVA_LONG, PROGRESS_DELAY, PROGRESS_DELAY_MICROS);
        return configuration;
    }

    /// Lets others read and write main memory, and this agent read into it and write from it.
    public void register(MemorySegment memory) {
        register(memory.address(), memory.byteSize(), DRAM, 0);
    }

    /// Lets others read and write memory, and this agent read into it and write from it.
    ///
    /// @param memory [#DRAM] or [#VRAM]
    /// @param device that has it; 0 for main memory
    /// @throws TransferException if NIXL, or UCX in it, cannot reach such memory
    void register(long address, long bytes, int memory, long device) {
        try {
            check("create_reg_dlist", (int) nixl.createRegList.invokeExact(memory, out));
            MemorySegment list = out.get(ADDRESS, 0);
            check("reg_dlist_add_desc", (int)
                    nixl.addRegion.invokeExact(list, address, bytes, device, MemorySegment.NULL, 0L));
            int status = (int) nixl.registerMemory.invokeExact(agent, list, options);
            if (status < 0 && memory == VRAM) {
                int _ = (int) nixl.destroyRegList.invokeExact(list);
                throw new TransferException(("NIXL: register_mem of a GPU's memory failed with status %d; UCX needs"
                                + " libuct_cuda.so of the nixl package, which needs libcuda.so.1 and"
                                + " libnvidia-ml.so.1, and UCX_TLS must not leave out cuda_copy")
                        .formatted(status));
            }
            check("register_mem", status);
            registered.add(list);
        } catch (Throwable t) {
            throw NixlLibrary.failed("register_mem", t);
        }
    }

    /// What another agent needs to read here; changes with each registration.
    public byte[] metadata() {
        try {
            check("get_local_md", (int) nixl.localMetadata.invokeExact(agent, out, size));
            MemorySegment data = out.get(ADDRESS, 0);
            byte[] metadata = data.reinterpret(size.get(JAVA_LONG, 0)).toArray(JAVA_BYTE);
            nixl.free.invokeExact(data);
            return metadata;
        } catch (Throwable t) {
            throw NixlLibrary.failed("get_local_md", t);
        }
    }

    /// Makes another agent known.
    ///
    /// @return its name
    /// @throws TransferException if the metadata are not ones that this NIXL reads
    public String load(byte[] metadata) {
        try (Arena call = Arena.ofConfined()) {
            check("load_remote_md", (int) nixl.loadRemoteMetadata.invokeExact(
                    agent, call.allocateFrom(JAVA_BYTE, metadata), (long) metadata.length, out));
            MemorySegment text = out.get(ADDRESS, 0);
            String name = text.reinterpret(MAX_NAME_BYTES).getString(0);
            nixl.free.invokeExact(text);
            return name;
        } catch (Throwable t) {
            throw NixlLibrary.failed("load_remote_md", t);
        }
    }

    /// Forgets another agent; nothing may be in flight from it.
    public void forget(String remoteAgent) {
        try (Arena call = Arena.ofConfined()) {
            // An agent that is gone already is forgotten too.
            int _ = (int) nixl.invalidateRemoteMetadata.invokeExact(agent, call.allocateFrom(remoteAgent));
        } catch (Throwable t) {
            throw NixlLibrary.failed("invalidate_remote_md", t);
        }
    }

    /// Where the pieces of a transfer lie on one side.
    ///
    /// @param memory [#DRAM] or [#VRAM]
    /// @param device that has it; 0 for main memory
    record Place(int memory, long device) {
        static final Place HOST = new Place(DRAM, 0);
    }

    /// Begins to read from another agent's memory. May copy before it returns, where both are on one host.
    ///
    /// @throws TransferException if NIXL refuses it; nothing is under way then
    Transfer read(String remoteAgent, Place here, Place there, Descriptors pieces) {
        return begin(READ, remoteAgent, here, there, pieces);
    }

    /// Begins to write one piece into another agent's memory; see [#read].
    ///
    /// @param local address of registered memory here
    /// @param remote address of registered memory there
    public Transfer write(
            String remoteAgent, int remoteMemory, long remoteDevice, long local, long remote, long length) {
        Descriptors piece = new Descriptors();
        piece.add(local, remote, length);
        return begin(WRITE, remoteAgent, Place.HOST, new Place(remoteMemory, remoteDevice), piece);
    }

    private Transfer begin(int operation, String remoteAgent, Place local, Place remote, Descriptors pieces) {
        MemorySegment here = MemorySegment.NULL;
        MemorySegment there = MemorySegment.NULL;
        try (Arena call = Arena.ofConfined()) {
            try {
                check("create_xfer_dlist", (int) nixl.createTransferList.invokeExact(local.memory(), out));
                here = out.get(ADDRESS, 0);
                check("create_xfer_dlist", (int) nixl.createTransferList.invokeExact(remote.memory(), out));
                there = out.get(ADDRESS, 0);
                for (int i = 0; i < pieces.size(); i++) {
                    check("xfer_dlist_add_desc", (int)
                            nixl.addDescriptor.invokeExact(here, pieces.local(i), pieces.length(i), local.device()));
                    check("xfer_dlist_add_desc", (int)
                            nixl.addDescriptor.invokeExact(there, pieces.remote(i), pieces.length(i), remote.device()));
                }
                check("create_xfer_req", (int) nixl.createTransfer.invokeExact(
                        agent, operation, here, there, call.allocateFrom(remoteAgent), out, options));
            } finally {
                destroyList(here);
                destroyList(there);
            }
            Transfer transfer = new Transfer(out.get(ADDRESS, 0));
            int status = (int) nixl.postTransfer.invokeExact(agent, transfer.request, options);
            if (status < 0) {
                transfer.end();
                throw new TransferException("NIXL: post_xfer_req failed with status " + status);
            }
            transfer.status = status == 0 ? Status.DONE : Status.IN_PROGRESS;
            return transfer;
        } catch (Throwable t) {
            throw NixlLibrary.failed("a transfer", t);
        }
    }

    private void destroyList(MemorySegment list) throws Throwable {
        if (list.address() != 0) {
            int _ = (int) nixl.destroyTransferList.invokeExact(list);
        }
    }

    /// One read or write under way; to be ended with [#end].
    public final class Transfer {
        private final MemorySegment request;
        private Status status = Status.IN_PROGRESS;
        private boolean ended;

        private Transfer(MemorySegment request) {
            this.request = request;
        }

        /// Where it stands.
        public Status status() {
            if (status == Status.IN_PROGRESS) {
                try {
                    int now = (int) nixl.transferStatus.invokeExact(agent, request);
                    status = now == 0 ? Status.DONE : now > 0 ? Status.IN_PROGRESS : Status.FAILED;
                } catch (Throwable t) {
                    throw NixlLibrary.failed("get_xfer_status", t);
                }
            }
            return status;
        }

        /// Gives the request back; one that is under way is cancelled, if NIXL can do that now.
        ///
        /// @return whether nothing is written any more; if not, call it again later
        public boolean end() {
            if (!ended) {
                try {
                    ended = (int) nixl.releaseTransfer.invokeExact(agent, request) == 0;
                    if (ended) {
                        int _ = (int) nixl.destroyTransfer.invokeExact(request);
                    }
                } catch (Throwable t) {
                    throw NixlLibrary.failed("release_xfer_req", t);
                }
            }
            return ended;
        }
    }

    /// Sends a message to another agent.
    ///
    /// @throws TransferException if it is known that it will not arrive
    void send(String remoteAgent, byte[] message) {
        try (Arena call = Arena.ofConfined()) {
            check("gen_notif", (int) nixl.sendNotification.invokeExact(
                    agent,
                    call.allocateFrom(remoteAgent),
                    call.allocateFrom(JAVA_BYTE, message),
                    (long) message.length,
                    options));
        } catch (Throwable t) {
            throw NixlLibrary.failed("gen_notif", t);
        }
    }

    /// Takes the messages that have come, in order for each agent.
    public List<Notification> notifications() {
        try {
            check("get_notifs", (int) nixl.fetchNotifications.invokeExact(agent, notifications, options));
            check("notif_map_size", (int) nixl.numAgents.invokeExact(notifications, size));
            long agents = size.get(JAVA_LONG, 0);
            if (agents == 0) {
                return List.of();
            }
            List<Notification> taken = new ArrayList<>();
            for (long i = 0; i < agents; i++) {
                check("notif_map_get_agent_at", (int) nixl.agentAt.invokeExact(notifications, i, out));
                MemorySegment name = out.get(ADDRESS, 0);
                String from = name.reinterpret(MAX_NAME_BYTES).getString(0);
                check("notif_map_get_notifs_size", (int) nixl.numNotifications.invokeExact(notifications, name, size));
                long messages = size.get(JAVA_LONG, 0);
                for (long j = 0; j < messages; j++) {
                    check("notif_map_get_notif", (int)
                            nixl.notificationAt.invokeExact(notifications, name, j, out, size));
                    byte[] message = out.get(ADDRESS, 0)
                            .reinterpret(size.get(JAVA_LONG, 0))
                            .toArray(JAVA_BYTE);
                    taken.add(new Notification(from, message));
                }
            }
            check("notif_map_clear", (int) nixl.clearNotifications.invokeExact(notifications));
            return taken;
        } catch (Throwable t) {
            throw NixlLibrary.failed("get_notifs", t);
        }
    }

    /// Ends the agent. Transfers that are under way end with it.
    @Override
    public void close() {
        try {
            for (MemorySegment list : registered) {
                int _ = (int) nixl.deregisterMemory.invokeExact(agent, list, options);
                int _ = (int) nixl.destroyRegList.invokeExact(list);
            }
            int _ = (int) nixl.destroyNotifications.invokeExact(notifications);
            int _ = (int) nixl.destroyOptArgs.invokeExact(options);
            int _ = (int) nixl.destroyAgent.invokeExact(agent);
            int _ = (int) nixl.destroyBackend.invokeExact(backend);
            arena.close();
        } catch (Throwable t) {
            throw NixlLibrary.failed("ending an agent", t);
        }
    }

    private static void check(String function, int status) {
        if (status < 0) {
            throw new TransferException("NIXL: %s failed with status %d".formatted(function, status));
        }
    }
}
