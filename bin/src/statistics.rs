//! What a container uses, by the names that Mesos' agents have for it (`ResourceStatistics`), which
//! monitors know (CT-27, CT-28, CT-78 to CT-82). What is not counted here has no name either.
//!
//! Deliberately not here: measuring.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Map, Value, json};
use tepui_isolation::Sample;
use tepui_isolation::cgroup::{
    BlockStatistics, CpuStatistics, MemoryStatistics, Operations, Pressure, Stalls,
};
use tepui_isolation::isolators::{DiskUse, VolumeUse};
use tepui_isolation::network::Traffic;
use tepui_isolation::network::statistics::Statistics;

/// Names all that a sample tells.
pub(crate) fn object(sample: &Sample) -> Map<String, Value> {
    let mut object = Map::new();
    let usage = &sample.usage;
    let at = usage.at.duration_since(UNIX_EPOCH).unwrap_or_default();
    put(&mut object, "timestamp", Some(at.as_secs_f64()));
    put(&mut object, "processes", Some(usage.processes));
    put(&mut object, "threads", Some(usage.threads));
    cpu(&mut object, &usage.cpu);
    memory(&mut object, &usage.memory);
    if let Some(devices) = &usage.block_io {
        put(&mut object, "blkio_statistics", Some(block_io(devices)));
    }
    if let Some(disk) = &sample.disk {
        self::disk(&mut object, disk);
    }
    if let Some(network) = &sample.network {
        self::network(&mut object, network);
    }
    if let Some(pressure) = &sample.pressure {
        put(&mut object, "pressure", Some(stalls(pressure)));
    }
    object
}

fn put(object: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        object.insert(name.to_owned(), value.into());
    }
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

fn cpu(object: &mut Map<String, Value>, cpu: &CpuStatistics) {
    put(object, "cpus_user_time_secs", cpu.user.map(seconds));
    put(object, "cpus_system_time_secs", cpu.system.map(seconds));
    put(
        object,
        "cpus_limit",
        cpu.limit.map(|limit| limit.thousandths() as f64 / 1e3),
    );
    let soft = cpu.soft_limit.thousandths() as f64 / 1e3;
    put(object, "cpus_soft_limit", Some(soft));
    put(object, "cpus_nr_periods", Some(cpu.periods));
    put(object, "cpus_nr_throttled", Some(cpu.throttled_periods));
    let throttled = seconds(cpu.throttled);
    put(object, "cpus_throttled_time_secs", Some(throttled));
}

fn memory(object: &mut Map<String, Value>, memory: &MemoryStatistics) {
    put(object, "mem_total_bytes", Some(memory.total));
    put(object, "mem_total_memsw_bytes", memory.with_swap);
    put(object, "mem_kmem_usage_bytes", memory.kernel);
    put(object, "mem_kmem_tcp_usage_bytes", memory.sockets);
    put(object, "mem_limit_bytes", memory.limit);
    put(object, "mem_soft_limit_bytes", memory.soft_limit);
    // The older names of the same.
    put(object, "mem_file_bytes", Some(memory.file));
    put(object, "mem_cache_bytes", Some(memory.file));
    put(object, "mem_anon_bytes", Some(memory.anonymous));
    put(object, "mem_rss_bytes", Some(memory.anonymous));
    put(object, "mem_mapped_file_bytes", Some(memory.mapped_file));
    put(object, "mem_swap_bytes", memory.swap);
    put(object, "mem_unevictable_bytes", Some(memory.unevictable));
}

/// Block devices, as the messages of `CgroupInfo.Blkio` have them.
fn block_io(devices: &BTreeMap<(u32, u32), BlockStatistics>) -> Value {
    let each = devices.iter().map(|((major, minor), device)| {
        json!({
            "device": { "major_number": major, "minor_number": minor },
            "io_serviced": operations(&device.operations),
            "io_service_bytes": operations(&device.bytes),
        })
    });
    json!({ "throttling": each.collect::<Vec<_>>() })
}

fn operations(operations: &Operations) -> Value {
    let each = [
        ("TOTAL", operations.total),
        ("READ", operations.read),
        ("WRITE", operations.write),
        ("DISCARD", operations.discard),
        ("SYNC", operations.sync),
        ("ASYNC", operations.background),
    ];
    let each = each.map(|(op, value)| json!({ "op": op, "value": value }));
    Value::Array(each.into())
}

fn disk(object: &mut Map<String, Value>, disk: &DiskUse) {
    put(object, "disk_limit_bytes", disk.limit);
    put(object, "disk_used_bytes", disk.used);
    if !disk.volumes.is_empty() {
        let volumes = disk.volumes.iter().map(volume).collect::<Vec<_>>();
        put(object, "disk_statistics", Some(volumes));
    }
}

/// One persistent volume, which is known by its id: the directory above that of its making.
fn volume(volume: &VolumeUse) -> Value {
    let mut object = Map::new();
    let id = volume.path.parent().and_then(Path::file_name);
    let id = id.map(|id| id.to_string_lossy().into_owned());
    put(&mut object, "persistence", Some(json!({ "id": id })));
    put(&mut object, "limit_bytes", Some(volume.limit));
    put(&mut object, "used_bytes", volume.used);
    Value::Object(object)
}

/// All interfaces together.
fn network(object: &mut Map<String, Value>, network: &Statistics) {
    let links = &network.links;
    let received: Vec<Traffic> = links.iter().map(|link| link.received).collect();
    let sent: Vec<Traffic> = links.iter().map(|link| link.sent).collect();
    for (way, traffic) in [("rx", received), ("tx", sent)] {
        let sum = |of: fn(&Traffic) -> u64| traffic.iter().map(of).sum::<u64>();
        for (what, number) in [
            ("packets", sum(|one| one.packets)),
            ("bytes", sum(|one| one.bytes)),
            ("errors", sum(|one| one.errors)),
            ("dropped", sum(|one| one.dropped)),
        ] {
            put(object, &format!("net_{way}_{what}"), Some(number));
        }
    }
    let active = network.tcp_active as f64;
    put(object, "net_tcp_active_connections", Some(active));
    let waiting = network.tcp_time_wait as f64;
    put(object, "net_tcp_time_wait_connections", Some(waiting));
    let snmp = &network.snmp;
    let snmp = json!({
        "ip_stats": snmp.ip,
        "icmp_stats": snmp.icmp,
        "tcp_stats": snmp.tcp,
        "udp_stats": snmp.udp,
    });
    put(object, "net_snmp_statistics", Some(snmp));
}

/// How long the container waited; Mesos has no names for that.
fn stalls(pressure: &Pressure) -> Value {
    let one = |stalls: &Stalls| {
        let some = &stalls.some;
        let mut one = json!({
            "some_avg10": some.last_10_s,
            "some_avg60": some.last_60_s,
            "some_avg300": some.last_300_s,
            "some_total_secs": seconds(some.total),
        });
        if let Some(full) = &stalls.full {
            one["full_avg10"] = full.last_10_s.into();
            one["full_avg60"] = full.last_60_s.into();
            one["full_avg300"] = full.last_300_s.into();
            one["full_total_secs"] = seconds(full.total).into();
        }
        one
    };
    let each = [
        ("cpu", &pressure.cpu),
        ("memory", &pressure.memory),
        ("io", &pressure.io),
    ];
    let each = each.into_iter();
    let each = each.filter_map(|(name, stalls)| Some((name.to_owned(), one(stalls.as_ref()?))));
    Value::Object(each.collect())
}
