// Lets a reader of a published site change to another version of it. What there is stands in versions.json beside the
// folders of the versions, which docs/publish.py writes; without that file there is nothing to choose.
(async () => {
  const root = document.documentElement.dataset.content_root ?? "./";
  const site = new URL(`${root}../`, document.location.href);
  if (!site.protocol.startsWith("http")) return;
  const answer = await fetch(new URL("versions.json", site)).catch(() => null);
  if (!answer?.ok) return;
  const versions = await answer.json();
  const here = new URL(root, document.location.href).pathname.split("/").filter(Boolean).at(-1);
  const label = document.createElement("label");
  label.className = "versions";
  label.append("Version ");
  const select = document.createElement("select");
  for (const name of versions) select.add(new Option(name, name, name === here, name === here));
  select.addEventListener("change", () => document.location.assign(new URL(`${select.value}/`, site)));
  label.append(select);
  document.querySelector(".sidebar-brand")?.after(label);
})();
