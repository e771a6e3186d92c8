//! `/sys/class/nvme`: models, serial numbers and firmware of NVMe disks. Their traffic is in `diskstats`, their heat in `hwmon`.

use super::page::Page;
use super::roots::{PartError, Roots, Text, names};

pub(super) fn read(roots: &Roots, page: &mut Page) -> Result<(), PartError> {
    let folder = roots.sys.join("class/nvme");
    let devices = names(&folder)?;
    if devices.is_empty() {
        return Err(PartError::NoData);
    }
    for device in devices {
        let text = |file: &str| {
            let text = Text::read(folder.join(&device).join(file))?;
            Ok::<_, PartError>(text.trimmed().to_owned())
        };
        page.gauge(
            "node_nvme_info",
            "Non-numeric data from /sys/class/nvme/<device>, value is always 1.",
        )
        .row(
            &[
                ("device", &device),
                ("firmware_revision", &text("firmware_rev")?),
                ("model", &text("model")?),
                ("serial", &text("serial")?),
                ("state", &text("state")?),
            ],
            1.0,
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::check;

    #[test]
    fn what_a_disk_is() {
        check(
            super::read,
            &[
                ("sys/class/nvme/nvme0/firmware_rev", "1B2QEXP7\n"),
                (
                    "sys/class/nvme/nvme0/model",
                    "Samsung SSD 970 PRO 512GB   \n",
                ),
                ("sys/class/nvme/nvme0/serial", "S680HF8N190894I\n"),
                ("sys/class/nvme/nvme0/state", "live\n"),
            ],
            "node_nvme_info{device=\"nvme0\",firmware_revision=\"1B2QEXP7\",model=\"Samsung SSD 970 PRO 512GB\",\
             serial=\"S680HF8N190894I\",state=\"live\"} 1\n",
        );
        check(
            super::read,
            &[],
            "error nothing to collect on this machine\n",
        );
    }
}
