"""Scripts in the place of BasicSR's train.py and test.py: they note that they were called, and take no time."""

TRAIN = """
import os, pathlib, sys, time, yaml
opt = yaml.safe_load(open(sys.argv[2]))
pathlib.Path("calls.txt").open("a").write(f"train {opt['name']} {os.environ.get('CUDA_VISIBLE_DEVICES', '')}\\n")
if pathlib.Path("break").exists() and opt["name"] in pathlib.Path("break").read_text():
    print("it broke"); sys.exit(3)
print("INFO: [t][epoch:  0, iter:   1,000, lr:(1e-3,)] l_pix: 1"); print("\\t # psnr: 30.5000")
print("INFO: [t][epoch:  0, iter:   2,000, lr:(1e-3,)] l_pix: 1"); print("\\t # psnr: 31.2500")
"""
TEST = """
import math, pathlib, sys, cv2, yaml
opt = yaml.safe_load(open(sys.argv[2]))
pathlib.Path("calls.txt").open("a").write(f"test {opt['name']}\\n")
print("Network [EDSR], with parameters: 12,345")
offset = 3 + len(opt["name"]) % 3
psnr = 20 * math.log10(255 / (offset * 219 / 255))  # a constant offset in RGB is 219/255 of it in Y
for d in opt["datasets"].values():
    out = pathlib.Path("results") / opt["name"] / "visualization" / d["name"]; out.mkdir(parents=True, exist_ok=True)
    for f in sorted(pathlib.Path(d["dataroot_gt"]).glob("*.png")):
        cv2.imwrite(str(out / f"{f.stem}_{opt['name']}.png"), cv2.imread(str(f)) + offset)
    off = 1.0 if pathlib.Path("lie").exists() else 0.0
    print(f"INFO: Validation {d['name']}\\n\\t # psnr: {psnr + off:.4f}")
"""
