// Sliders over the way to a counterfactual, a filter over examples, and what a figure means on hover, focus or touch.
// Everything listens on the document, so that cards may come and go.
(() => {
  const all = (within, selector) => within.querySelectorAll(selector);

  function show(card, place) {
    const way = JSON.parse(card.dataset.walk), share = place / (way.labels.length - 1);
    for (const picture of all(card, "img.strip")) picture.style.objectPosition = `0 ${100 * share}%`;
    for (const picture of all(card, "img.fade")) picture.style.opacity = share;
    for (const caption of all(card, "figcaption.moving")) caption.textContent = way.labels[place];
    all(card, ".track.now").forEach((track, k) => {
      const text = (100 * way.posterior[place][k]).toFixed(1);
      track.querySelector("i").style.width = text + "%";
      track.querySelector("em").textContent = text + " %";
    });
    const said = `${way.labels[place]}: decided ${way.decided[place]}`;
    for (const output of all(card, ".walking output")) output.textContent = said;
    for (const slider of all(card, ".walking input")) { slider.value = place; slider.setAttribute("aria-valuetext", said); }
    for (const link of all(card, "a[data-frames]")) {
      link.href = link.dataset.frames + place + ".png";
      link.download = link.dataset.name + "-" + place + ".png";
    }
  }

  function stop(button) {
    clearInterval(button.timer);
    button.timer = undefined;
    button.textContent = "Play";
  }

  function play(button) {
    const card = button.closest("[data-walk]"), slider = card.querySelector(".walking input"), last = Number(slider.max);
    if (Number(slider.value) >= last) show(card, 0);
    button.textContent = "Pause";
    button.timer = setInterval(() => {
      if (!card.isConnected || Number(slider.value) >= last) return stop(button);
      show(card, Number(slider.value) + 1);
    }, 80);
  }

  function filter(choice) {
    const cards = [...all(document, ".cards [data-kinds]")];
    for (const card of cards) card.hidden = choice.value !== "" && !card.dataset.kinds.split(" ").includes(choice.value);
    for (const count of all(document, ".shown")) count.textContent = cards.filter((card) => !card.hidden).length;
  }

  let tip;
  function explain(button) {
    if (!tip) {
      tip = document.createElement("div");
      Object.assign(tip, { id: "obverse-tip", className: "obverse-tip", popover: "manual", role: "tooltip" });
      document.body.append(tip);
    }
    tip.textContent = button.dataset.tip;
    button.setAttribute("aria-describedby", tip.id);
    tip.showPopover();
    const at = button.getBoundingClientRect(), size = tip.getBoundingClientRect();
    const below = at.bottom + 6 + size.height <= innerHeight;
    tip.style.left = Math.max(8, Math.min(at.left, innerWidth - size.width - 8)) + "px";
    tip.style.top = (below ? at.bottom + 6 : Math.max(8, at.top - size.height - 6)) + "px";
  }
  const hide = () => tip?.matches(":popover-open") && tip.hidePopover();

  const within = (event, selector) => event.target instanceof Element && event.target.closest(selector);
  document.addEventListener("input", (event) => {
    const slider = within(event, ".obverse .walking input"), choice = within(event, ".obverse .choice input");
    if (slider) {
      const card = slider.closest("[data-walk]");
      for (const button of all(card, "button.play")) stop(button);
      show(card, Number(slider.value));
    }
    if (choice) filter(choice);
  });
  document.addEventListener("click", (event) => {
    const button = within(event, ".obverse button.play"), tipped = within(event, ".obverse button.tip");
    if (button) button.timer === undefined ? play(button) : stop(button);
    if (tipped) explain(tipped); else hide();
  });
  for (const kind of ["mouseover", "focusin"]) document.addEventListener(kind, (event) => {
    const button = within(event, ".obverse button.tip");
    if (button) explain(button); else hide();
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
  addEventListener("scroll", hide, { capture: true, passive: true });
})();
