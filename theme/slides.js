// Starts reveal.js, and shrinks what would not fit on a slide.

const [WIDTH, HEIGHT] = [1280, 720];

// Every slide is laid out from the start: a figure that is drawn unseen has no width.
Reveal.initialize({
    width: WIDTH, height: HEIGHT, margin: 0.02, center: false, hash: true,
    slideNumber: "c/t", transition: "none", viewDistance: 1000, mobileViewDistance: 1000,
    plugins: [RevealNotes],
});

function fit(box) {
    let zoom = 1;
    box.style.zoom = zoom;
    const height = () => box.getBoundingClientRect().height;
    const most = box.parentElement.getBoundingClientRect().height;
    while (height() > most && zoom > 0.5) box.style.zoom = zoom -= 0.02;
}

// A presenter's clicker turns the slide, even while a slider has the keys.
document.addEventListener("keydown", (event) => {
    const turn = { PageDown: Reveal.next, PageUp: Reveal.prev }[event.key];
    if (!turn) return;
    event.preventDefault();
    event.stopPropagation();
    turn();
}, true);

// Figures come and change by themselves, so it is asked again whenever one does.
const watch = new ResizeObserver((changes) => {
    for (const box of new Set(changes.map(({ target }) => target.parentElement))) fit(box);
});
for (const part of document.querySelectorAll(".fit > *")) watch.observe(part);

// A figure keeps its keys: the arrows and the space bar of a list, a button or a chart
// would turn the slide as well.
for (const figure of document.querySelectorAll("figure"))
    figure.addEventListener("keydown", (event) => event.stopPropagation());

// Tab must not lead to slides that are not shown; in the overview all can be clicked.
function shut() {
    for (const slide of document.querySelectorAll(".slides > section"))
        slide.inert = !Reveal.isOverview() && slide !== Reveal.getCurrentSlide();
}
for (const event of ["ready", "slidechanged", "overviewshown", "overviewhidden"])
    Reveal.on(event, shut);
