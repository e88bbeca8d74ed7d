"""What was seen on the pictures and in the figures of each table, beside what its notes say; part of docs/results.md."""

RIVALS = "Closeness takes all counterfactuals for rivals; by now those towards the same class, as in eq. 10."

SEEN: dict[str, tuple[str, ...]] = {
    "digits": (
        "Seen: SyCE and CyCE close or open loops with strokes that are ragged at the edge; SSyE, CyCSAE and CycleGAN draw the "
        "cleanest digits, and change more pixels for it. SyCE without cycle turns 3s into blocks or inverts them, and is valid "
        "all the same: the classifier does not mind. SAGen adds a thin stroke and leaves the rest. MGen smears the digit away; "
        "it has no notion of the other class.",
        "CycleGAN's acc_a is not worse than SyCE's, against expectation; the paper's row of that name is CyCE without its "
        "classifier terms, which is.",
    ),
    "ten-digits": (
        "Seen: near pairs (4 to 9, 6 to 0) are clean; far ones (2 to 1, 7 to 3) leave grey remains of the first digit.",
        "The intervals draw pairs of classes; by now images are drawn.",
    ),
    "baselines-digits": (
        "Seen: PGD and noise leave the digit as it is and speckle the ground; CEM with an autoencoder smudges, without one it "
        "nibbles at a stroke; Wachter changes a handful of pixels; CVE pastes cells with hard edges; ExplainGAN and SyCE move "
        "the strokes that a person would. The nearest image in feature space is often a blot. Gradient, SmoothGrad and IG lie "
        "on the stroke itself, occlusion and CXPlain on the gap that decides; Grad-CAM is empty for two of eight. BBMP masks "
        "all or nothing of the 3s, where blurring changes no decision.",
        "CXPlain was stopped by the clock after 102 of 400 steps, with older code.",
    ),
    "baselines-fashion": (
        "Seen: ExplainGAN, CEM and Wachter paint or remove sleeves, ExplainGAN evenly, the others in specks; Grad-CAM, "
        "gradient and SmoothGrad point at where sleeves are or would be; PGD speckles everything.",
        "CXPlain was stopped by the clock after 128 of 400 steps, with older code.",
    ),
    "c3lt-mnist-38": (
        "Seen, on 8 test images: 3s are closed with the strokes that were there, two of four to a whole 8; a wide 3 gets shadows "
        "only, and is no 8 to a person; of 8s the left side goes, and a stroke may break.",
    ),
    "c3lt-mnist-49": (
        "Seen, on 20 test images (eight on the [sheet](../benchmarks/results/sheet-c3lt-mnist-49.png)): ten 4s are closed "
        "above, a wide one to a box; of ten 9s eight are opened, most as a hand would write a 4, and four get a dash at the "
        "right that does not touch, where its bar would end. Closer changes a little less, and seven get the dash.",
        "C3LT by default, closer and real images are of another machine than the other rows, with the same classifier, "
        "generator and judges, since fingerprint, residual and all figures of the real images but the seconds are the same to "
        "the last digit.",
    ),
    "c3lt-mnist-56": (
        "Seen, on 8 test images: 5s get a 6's loop, one of four without closing it; of four 6s one becomes a whole 5, the others "
        "are cut open at the left and are half a 5.",
        "Against the settings of before the Frechet distance is better than ExplainGAN's and xGEM's, and L1 and COUT are worse "
        "(0.059 for 0.054, 0.920 for 0.934).",
        "The picture below is of margin 5.",
    ),
    "c3lt-fashion-02": (
        "Seen, on 8 test images: whole sleeves grow and go, a hem comes with them; prints, letters and seams stay pixel by "
        "pixel. Sleeves are many pixels: that is why L1 is twice that of coats and shirts.",
        "Tried on validation images, 450 steps, to change less: a population of 20 (L1 0.076 for 0.092, FD in the embedding 2.27 "
        "for 1.33), own pixels 0.5, a cycle of 1 and a rate of 4e-3 (L1 within 0.002, FD within 0.02), a population of the "
        "encoder's latents instead of pictures (L1 0.083 at FD 2.10).",
    ),
    "c3lt-fashion-46": (
        "Seen, on 20 test images, with a margin of 5: collars, shoulders and cuffs change, a shirt gets a coat's collar and "
        "full shoulders, a coat loses a sleeve's end or its collar; prints and seams stay pixel by pixel. What decides is "
        "little and hard to name, and two coats get a dark smear.",
        "With the class term of today the pictures are of the same kind, and the changes a little fainter: the median coat or "
        "shirt is decided with log-odds of about 4 only. One of 2000 answers is not valid. C3LT by default is of another "
        "machine than most other rows, with the same classifier.",
    ),
    "c3lt-fashion-79": (
        "Seen, on 20 test images (eight on the [sheet](../benchmarks/results/sheet-c3lt-fashion-79.png)): sneakers get a shaft "
        "and a heel, boots lose the shaft and the toe's height, and leave a shadow or a tip of it; two low sneakers get a heel "
        "apart from the shoe, one a scrap of a shaft beside. With a margin of 5 the pictures are much the same; closer, and "
        "more so a population of 20, leave more scraps of shafts. ExplainGAN draws a hole into boots and dots under sneakers, "
        "xGEM blurs all.",
        "The weight of the population is what decides here between few changes and the other class's look: closer has an L1 of "
        "0.080 instead of 0.119 and a COUT of 0.939 instead of 0.913, but a Frechet distance in the embedding of 3.59 instead of "
        "1.95 (ExplainGAN 3.77), in the classifier's features of 63.7 instead of 50.3 (79.7).",
        "A margin of 5 is less than what the classifier makes of the median image here (8 to 9): answers are less sure (validity "
        "0.9975 for 1, COUT 0.879 for 0.913, IM1 0.884 for 0.784), and nearer to real images in the classifier's features (24.3 "
        "for 50.3), not in the embedding.",
        "The minutes of C3LT are more than its 2000 steps need: other programs ran beside for some of them.",
        "The picture below is of margin 5.",
        "Tried on validation images, 600 steps, margin 5 (L1, COUT, FD in the embedding, in the classifier's features): "
        "population 50 0.121, 0.885, 1.93, 19; 30 0.089, 0.909, 3.10, 28, and with the distance of patches of 28, 14 and 7 "
        "pixels the same; 30 and a margin of 7 0.093, 0.923, 3.07, 39, of 10 0.100, 0.935, 3.01, 89; 20 and a critic of 0.03 "
        "0.066, 0.924, 4.22, 40; 50 and the margin of today 0.126, 0.910, 1.95, 51, every answer valid. No setting gives few "
        "changes and the class's look.",
    ),
    "c3lt-ablation-49": (
        "Seen, on these 8 and 16 more test images: the class term alone turns every 4 into the one same 9 and every 9 into the "
        "one same 4; with proximity the hand stays; cycle and critic change hardly a pixel; the population closes loops more "
        "roundly and draws the bar of the 4 further, and leaves grey crumbs beside thin strokes.",
        "Proximity moves COUT, L1, IM1, IM2 and both Frechet distances the way it does in the paper, far beyond their "
        "intervals. Cycle and critic raise COUT in the paper (0.935, 0.943, 0.948), and here not. The cycle betters the "
        "Frechet distance in the classifier's features (25.4 to 21.4), and IM1 a little, where the paper's gets worse; what it "
        "is for it does: the way there and back misses by a twentieth of the way instead of by all of it. What the critic "
        "changes is within the intervals. The population, not the paper's, halves the Frechet distance in the embedding for a "
        "tenth more L1, and the image's own pixels take that back.",
    ),
    "c3lt-cyclegan-49": (
        "Seen, on 20 test images: whole 4s and 9s of the same slant and pen, the tail drawn anew; two of 20 stay what they are.",
        "Against C3LT after 600 steps in c3lt-ablation-49 (the same classifier, images and judges): validity 0.947 for 0.999, "
        "COUT 0.863 for 0.965, L1 0.051 for 0.029, as the paper has it; but the Frechet distances are half and less (0.53 for "
        "1.08 in the embedding, 5.1 for 16.6 in the classifier's features), and IM1 and IM2 too are better, where the paper "
        "has C3LT ahead in all.",
    ),
    "c3lt-rigged": (
        "Seen, on these 8 and 16 more test images: asked for a 9, the walk that this classifier guides ends in blots and "
        "scraps, which it never decides 9, and in a few 9s; asked for a 1, in 1s, some of them broken. Counted apart, valid or "
        "not: a classifier that saw all ten digits decides 9 for 580 of 982 of the former and 1 for all of the latter.",
        "The few valid answers of the first row are of 4s that the classifier takes for a 2, 6, 7 or 8, and that were asked for "
        "a 4: of 973 that it decides 4 none becomes a 9. Without a valid 9 there is no Frechet distance to 9s.",
        "Ten minutes held 618 and 641 of the 1200 steps.",
    ),
    "knob-digits": (
        RIVALS,
        "Seen: strokes grow and go as the knob turns, and the hand stays; between 0.15 and 0.85 little is to be seen, as the "
        "classifier knows hardly any digit that it is unsure of. xGEM's digits are blurred and lose the hand.",
        "xGEM's Frechet distance is of fewer images. In the classifier's features EPE's is smaller, in the embedding, itself a "
        "VAE with a class term, xGEM's.",
    ),
    "knob-fashion": (
        RIVALS,
        "Seen: collars come with the shirt and fade with the coat, a seam in front grows with the coat; plain clothes get specks "
        "in either direction, which decide, and mean little to a person. xGEM makes every garment plain.",
        "Deleting pixels in the order of EPE's map turns fewer decisions than a random order.",
    ),
    "knob-brain": (
        RIVALS,
        "Intervals of the knob draw slices, as if those of one head were independent: by now whole heads are drawn.",
        "Seen, searched beyond the ends: the head stays, and the posterior is met nearly everywhere. Towards none it gets grain, "
        "folds and dark gaps, towards tumour it gets smooth and even; a tumour that is there hardly shrinks, and a second "
        "classifier follows six in ten counterfactuals only: the classifier decides by how an image was taken as much as by the "
        "tumour. In one series of eight the search jumps from one look to another.",
        "Best on validation after 3000 of 4500 steps, and worse from then on: 229 healthy heads are all that there is to train "
        "on; 49 are in the test. With half the class term, 4000 steps and a plain tangent the knob was worse in every figure "
        "(rank correlation 0.781, error 0.103, both ends valid 0.915).",
        "With the code of the row searched beyond only the knob went beyond the ends; by now `explain` does too, where an end "
        "bin falls short, so that its validity would follow.",
        "Deleting the pixels that a map ranks first, EPE's map turns as many decisions as integrated gradients (0.383 and "
        "0.363 are kept), Grad-CAM more (0.208), a random order hardly any (0.882). These three were measured later, with the "
        "same classifier.",
    ),
    "medxgan-brain": (
        "Well represented is by the limit of a search of 100 steps with half the rate: by now by that of the search measured.",
        "Of heads with a tumour 0.997 are decided none once z2 is 0; in healthy heads a random z2 makes a tumour in 0.55. "
        "Searched by eq. 5 alone, without the absent class for z1 (100 steps), the former were 0.371, at a residual of 0.035 "
        "instead of 0.037.",
        "At equal area integrated gradients find what the decision hangs on, the difference map less of it, Grad-CAM little.",
    ),
    "medxgan-latents": (
        "Seen: one anatomy stays over its pathologies, and without one it is brighter and has more folds. What is found of an "
        "image is blurred, and small tumours are lost in it; the walk to the negative realisation brightens the skull's base and "
        "sharpens folds, and leaves a large tumour where it is. Made images have a fine chequerboard.",
        "The kernel distance to real images is below that between the classes in the classifier's features, and not in the "
        "embedding. A first measurement of repeated searches, with a rate of 0.02 and 500 steps, gave a cosine of 0.786 and an "
        "SSIM of 0.815, since hardly any had settled; a rate of 0.1 was then chosen on 8 validation images.",
        "At equal area the order is integrated gradients, latent integrated gradients, difference map, random, Grad-CAM, where "
        "the posterior is what is attributed too, as latent integrated gradients do (confidence drop 0.509, latent 0.243; of "
        "the difference of logits 0.453): it is the walk that misses evidence, not the score. Latent integrated gradients mark "
        "three quarters of the pixels that integrated gradients of the posterior mark, two thirds of those of the logits (in "
        "the paper a fifth).",
        "Well represented was by a limit of searches of both classes, which all tumours keep: the two blocks are the same. By "
        "now the limit is of validation images decided tumour.",
    ),
    "confounder": (
        "Seen: for the biased classifier every 3 that becomes an 8 gets the mark, in full white, and every 8 that becomes a 3 "
        "loses it; for the unbiased one the mark stays as it is, its brightness too, while strokes close and open all the same. "
        "The ground has a faint grey haze here and there. The nearest image has or has not a mark by chance; PGD takes no notice "
        "of it.",
        "No unbiased explanation flips the mark, so there is no ratio of the means; by the upper end of its interval it is at "
        "least 130 (the paper: 1.7 and 4.4). The biased classifier turns only 3 % of its decisions with the mark alone.",
        "Each explainer was trained on its own classifier's images, as in the paper, so that flips could come from the images "
        "alone. They do not: the same network trained on biased images for an unbiased classifier flips no mark of 1984 digits "
        "([sheet](../benchmarks/results/confounder-control.png): digits turn, marks stay).",
        "With a plain tangent at the generator's end the unbiased knob lost every mark, and only the comparison with the image "
        "remade told the classifiers apart.",
    ),
    "knob-ablation": (
        RIVALS,
        "Rows are at their best step on validation, whose score holds what is left out: without class term step 250 of 1000, "
        "without reconstruction 500, without critic 750, critic 10 at 500, the others 1000.",
        "Without the class term the knob turns nothing. Without reconstruction every image becomes the same digit: closeness is "
        "0 and the residual six times as large. The critic, against the paper, betters nothing in a thousand steps: without it "
        "the Frechet distances are smaller, and closeness is smaller too, where the paper has worse and better.",
    ),
    "lesions": (
        "Seen: CX-GAN integrated takes the disc away without a trace, and its map is the disc with a faint halo of another grey; "
        "the map of cascaded is patchier. VA-GAN leaves the disc's outline, and its map is a crescent with a ring "
        "around it. Into healthy images both CX-GANs paint a disc in the one place, and often scraps of one in the other.",
    ),
    "baselines-lesions": (
        "Seen: gradient, IG, occlusion, Grad-CAM, BBMP, CXPlain, Wachter and CVE mark the disc of diseased images; in healthy "
        "ones some point at the two places where discs occur. CEM scribbles over half the image. PGD and noise are everywhere. "
        "MGen, not on the sheet, blurs the left rim away, whatever the image. The nearest image is another texture altogether, "
        "and shows nothing.",
        "The embedding knows nothing of these noise images but the decision (hardly any nats, nearly all on one component): "
        "FD and kernel distance say no more than validity does.",
    ),
    "baselines-tile": (
        "Seen: gradient, IG, Grad-CAM, BBMP, CXPlain and CVE agree that the classifier looks at the rim of the tile and at "
        "single dark pores, hardly inside the large defects of the masks: it decides by something that goes with them. CEM "
        "changes next to nothing on tiles without a defect and scribbles on one with; PGD and noise are everywhere; the nearest "
        "image is another tile.",
        "Dice is no use here: one threshold must fit pores and breaks of a third of a tile, and marking nearly everything, as "
        "the random map does, has the highest. Average precision tells more: of a random map it is the defects' share of the "
        "pixels.",
    ),
    "answers": (
        "Seen: a disc in the one place, in the other, or a faint one in both; some answers are hardly a disc.",
    ),
    "audits": (
        "PGD and the nearest image make no reconstruction; what stands there is the judges' autoencoder, from a time when it "
        "still counted as a verdict. Grad-CAM can be asked one question of the five, since it makes no counterfactual.",
    ),
}
