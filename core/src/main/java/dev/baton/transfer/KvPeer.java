package dev.baton.transfer;

/// Where an instance's connector waits for the connectors of others: what [RemotePrefill] says of it, before
/// there is any request.
///
/// @param engineId its identity, new at every start (`remote_engine_id`)
/// @param host under which others reach it (`remote_host`)
/// @param port there (`remote_port`); 0 if it only calls on others
/// @param pushes whether it gives or takes prompts also while they are computed (`remote_pushes`)
public record KvPeer(String engineId, String host, int port, boolean pushes) {}
