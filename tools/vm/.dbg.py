import socket as so, time, pathlib
from rsttrace.lab.net import Lab
from rsttrace.lab import tcp
from rsttrace.lab.out_of_memory import *
with Lab(so.AF_INET) as lab:
    print(pathlib.Path('/proc/net/sockstat').read_text())
    waiting_orphan(lab)
    first, fs = lab.pair(); second, ss = lab.pair()
    lab.firewall("client", "input", "tcp flags & fin == fin drop")
    port=fs.getsockname()[1]
    fs.close()
    lab.host_limit(GLOBAL, "0")
    print(pathlib.Path('/proc/sys/net/ipv4/tcp_max_orphans').read_text())
    for i in range(12):
        time.sleep(0.5)
        print(i, lab.run('server','cat','/proc/net/sockstat').splitlines()[1], tcp.info(first), lab.connections('server',port), [x for x in lab.run('server','nstat','-az').splitlines() if 'Memory' in x or 'OutRsts' in x])
    print(lab.run('server','ss','-tano'))
